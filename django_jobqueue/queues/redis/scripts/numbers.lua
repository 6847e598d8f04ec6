-- Numbers for what jobs have in common. They are given out once and never again, so what has one can be read for ever.

local SHORTEST_TRAITS = 13

local numbers = {}
local function look_up(traits)
  if numbers[traits] == nil then numbers[traits] = redis.call('HGET', TRAITS, traits) end
end

-- The number of what was looked up; a new one if it has none and there is one left.
local function number_for(traits)
  local number = numbers[traits]
  if not number then
    local n = math.floor(redis.call('HLEN', TRAITS) / 2) + 1
    number = n <= MOST_TRAITS and #traits >= SHORTEST_TRAITS and struct.pack('>I2', n) or NO_NUMBER
    if redis.call('HEXISTS', TRAITS, number) == 1 then number = NO_NUMBER end
    if number ~= NO_NUMBER then redis.call('HSET', TRAITS, traits, number, number, traits) end
    numbers[traits] = number
  end
  return number
end

-- The end of a pushed record, from its priority on, as it is stored.
local function numbered(job)
  local number = number_for(job.traits)
  if number == NO_NUMBER then return string.sub(job.record, 17) end
  return string.sub(job.record, 17, 17) .. number .. string.sub(job.record, 20, HEAD_LENGTH + #job.unique)
    .. string.sub(job.record, job.rest)
end
