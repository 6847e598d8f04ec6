-- Is every key what it should be? Asked before anything is written.

local TYPES = {[JOBS] = 'hash', [TRAITS] = 'hash', [STATE] = 'hash', [DELAYED] = 'zset', [WORKERS] = 'zset', [COUNTS] = 'hash', [UNIQUE] = 'hash',
  [UNRECORDED] = 'hash', [DONE] = 'hash', [OLDER] = 'hash', [CALLS] = 'hash', [META] = 'hash', [RESULTS] = 'hash', [OLDER_RESULTS] = 'hash'}

local function wrong(key, want)
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= want then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found .. ', not a ' .. want .. ' of this queue')
  end
end

local function wrong_store()
  for key, want in pairs(TYPES) do
    local problem = wrong(key, want)
    if problem then return problem end
  end
end

local function wrong_line(queue, priority)
  return wrong(levels_key(queue), 'zset') or wrong(line_key(queue, priority), 'list') or wrong(back_key(queue, priority), 'zset')
end

local function wrong_queue(queue)
  local problem = wrong(levels_key(queue), 'zset')
  if problem then return problem end
  for _, priority in ipairs(redis.call('ZREVRANGE', levels_key(queue), 0, -1)) do
    problem = wrong_line(queue, priority)
    if problem then return problem end
  end
end
