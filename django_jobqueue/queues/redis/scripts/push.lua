-- after: keys values counts lines numbers
--
-- Stores jobs, all or none.
-- ARGV: all jobs in one string. Each: length of its record, what it asks for, its record. It asks: id, when (' ' now, '@' at a moment,
-- '+' after so long), that moment or time in microseconds, its last lease number. The first 16 bytes of the record are filled in here.
-- Gives for each job the id that stands for it, all in one string: its own, or the holder's of its unique key.

local now = clock()
local jobs, ids = {}, {}
local pushed, at = ARGV[1], 1
while at < #pushed do
  local job, size, _ = {}, nil, nil
  size, job.id, job.kind, job.time, job.lease_no, at = struct.unpack('>I4c16c1dI4', pushed, at)
  job.record = string.sub(pushed, at, at + size - 1)
  at = at + size
  _, _, job.priority = head(job.record)
  job.traits, job.unique, job.rest = split(job.record)
  job.queue = queue_of(job.traits)
  jobs[#jobs + 1] = job
  ids[#ids + 1] = job.id
end

-- Known is what lives, and what is over; a dead letter that is brought back carries its last lease number.
local live, younger, older = many(JOBS, ids), many(DONE, ids), many(OLDER, ids)
local function is_known(i, job) return live[i] or is_over(younger[i] or older[i], job.lease_no) end

local answers, first, held, fresh = {}, {}, {}, {}
for i, job in ipairs(jobs) do
  local answer = first[job.id]
  if not answer then
    answer = job.id
    if not is_known(i, job) then
      local holder = job.unique ~= '' and (held[job.unique] or redis.call('HGET', UNIQUE, job.unique))
      if holder then
        answer = holder
      else
        if job.unique ~= '' then held[job.unique] = job.id end
        fresh[#fresh + 1] = job
      end
    end
    first[job.id] = answer
  end
  answers[i] = answer
end
if #fresh == 0 then return table.concat(answers) end

-- A look at every key that is written below: one of another type must stop the script here. (The other scripts ask for all types;
-- this one is short.)
local seen = {}
for _, job in ipairs(fresh) do
  look_up(job.traits)
  local line = line_key(job.queue, job.priority)
  if not seen[line] then
    seen[line] = true
    redis.call('LLEN', line)
    redis.call('ZCARD', levels_key(job.queue))
    redis.call('HLEN', COUNTS)
  end
  if job.kind ~= ' ' then redis.call('ZCARD', DELAYED) end
  if job.lease_no > 0 then redis.call('HLEN', STATE) end
end

local records, states, dues, keys, soonest = {}, {}, {}, {}, nil
local place = next_places(#fresh)
for _, job in ipairs(fresh) do
  place = place + 1
  local mine = job.kind == ' ' and place or 0
  records[#records + 1] = job.id
  records[#records + 1] = struct.pack('>dd', now, mine) .. numbered(job)
  if job.lease_no > 0 then
    states[#states + 1] = job.id
    states[#states + 1] = packed({room = mine > 0 and READY or WAITS, priority = job.priority, place = mine, ready_at = now,
      attempt = 0, lease_no = job.lease_no, crashes = 0, reason = ' ', claimed_at = 0, worker = NOBODY})
  end
  if job.unique ~= '' then
    keys[#keys + 1] = job.unique
    keys[#keys + 1] = job.id
  end
  if mine > 0 then
    line_up(job.id, job.queue, job.priority, place)
  else
    local due = job.kind == '+' and now + job.time or job.time
    dues[#dues + 1] = string.format('%.0f', due)
    dues[#dues + 1] = job.id
    count(WAITS, job.queue, 1)
    if not soonest or due < soonest then soonest = due end
  end
end
in_pieces('HSET', JOBS, records)
in_pieces('HSET', STATE, states)
in_pieces('HSET', UNIQUE, keys)
wait_until(dues, soonest)
write_lines()
write_counts()
return table.concat(answers)
