-- What stands in a record and in a state.

-- record: its head is created_at, place, priority, lengths of the queue's name and of the unique key, and these two
local function head(record)
  if #record >= 20 then
    local created, place, priority, queue, unique = struct.unpack('>ddbBI2', record)
    if #record >= 20 + queue + unique then
      return created, place, priority, string.sub(record, 21, 20 + queue), string.sub(record, 21 + queue, 20 + queue + unique)
    end
  end
  return 0, 0, 0, 'default', ''  -- garbage
end

local function names_of(record)
  local _, _, _, queue, unique = head(record)
  return queue, unique
end

-- state: room, priority, place, ready_at, attempt, lease number, crashes, reason, claimed_at, worker. The hot paths take it apart
-- by its bytes: the room is the first, the place 3 to 10, the lease number 21 to 24, the worker the last 16.
local STATE_LENGTH = 51
local function packed(s)
  return struct.pack('>c1bddI2I4I2c1dc16', s.room, s.priority, s.place, s.ready_at, s.attempt, s.lease_no, s.crashes, s.reason,
    s.claimed_at, s.worker)
end

local function unpacked(value)
  local s = {}
  s.room, s.priority, s.place, s.ready_at, s.attempt, s.lease_no, s.crashes, s.reason, s.claimed_at, s.worker =
    struct.unpack('>c1bddI2I4I2c1dc16', value)
  return s
end

-- A leased job has no reason to wait; there stands instead whether it was asked to stop ('c'), or is to be killed ('k'). Then it
-- completes or is cancelled, and nothing else.
local function is_asked(reason) return reason == 'c' or reason == 'k' end

-- the state of a job, also of one that has none of its own
local function state_of(record, value)
  local room = value and #value == STATE_LENGTH and string.sub(value, 1, 1)
  if room == READY or room == WAITS or room == LEASED then return unpacked(value) end
  local created, place, priority = head(record)
  return {room = place > 0 and READY or WAITS, priority = priority, place = place, ready_at = created, attempt = 0, lease_no = 0,
    crashes = 0, reason = ' ', claimed_at = 0, worker = NOBODY}
end
