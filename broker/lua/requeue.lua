-- Put invocations back into their functions' queues, each only if it still is as it was found.
--
-- ARGV: state they were found in ('delayed': retry due; 'running': worker dead; 'queued': message
--       lost; 'gathering': batch due), milliseconds a queued one must have waited, then for each:
--       id, function, attempt, Celery message, letter (JSON; '' while it may be tried again),
--       reason in one line, reply to who waits, destination (or '') of the record of its end,
--       record (JSON)
-- Returns the number that was put back; those with a letter are given up instead.
local state, patience = ARGV[1], tonumber(ARGV[2])
local moment = now()
local put_back = 0

local function still(id, fn, attempt)
  local got = redis.call('HMGET', P .. 'invocation:' .. id, 'state', 'attempt', 'worker')
  if got[1] ~= state or got[2] ~= attempt then return false end
  if state == 'running' then
    if not is_dead(got[3]) then return false end
    release(got[3], id, fn)
    redis.call('HINCRBY', P .. 'invocation:' .. id, 'lost', 1)
  elseif state == 'queued' then
    local since = redis.call('ZSCORE', P .. 'queued:' .. fn, id)
    return since and tonumber(since) <= moment - patience
  end
  return true
end

-- What no worker survives is one of a batch's records: each is tried once more, alone.
local function divide(id, fn, fault)
  end_batch(id, 'failed', fault, redis.call('HGET', P .. 'invocation:' .. id, 'failures') + 1, 0)
  redis.call('ZREM', P .. 'queued:' .. fn, id)
end

local function conclude(id, fn, letter, reason, reply, destination, record)
  give_up(id, fn, letter, reason, destination, record)
  log(fn, reason)
  redis.call('ZREM', P .. 'queued:' .. fn, id)
  if redis.call('HGET', P .. 'invocation:' .. id, 'reply') == '1' then answer(id, reply) end
  close(id)
end

-- What a dead worker had in hand was first in line, and is again, with its place in time.
local function put(id, fn, message)
  local entry, was_first = P .. 'invocation:' .. id, state == 'running'
  redis.call('HSET', entry, 'state', 'queued')
  local since = was_first and redis.call('HGET', entry, 'at') or moment
  redis.call('ZADD', P .. 'queued:' .. fn, since, id)
  redis.call(was_first and 'RPUSH' or 'LPUSH', 'function.' .. fn, message)
  put_back = put_back + 1
end

-- A batch takes no more records.
local function shut(id, fn)
  redis.call('ZREM', P .. 'gathering', id)
  if redis.call('GET', P .. 'gathering:' .. fn) == id then
    redis.call('DEL', P .. 'gathering:' .. fn)
  end
end

-- A look may be old: what has been delayed anew meanwhile keeps its place.
local function strike_off(id)
  if redis.call('HGET', P .. 'invocation:' .. id, 'state') ~= 'delayed' then
    redis.call('ZREM', P .. 'delayed', id)
  end
end

for at = 3, #ARGV, 9 do
  local id, fn, attempt, message = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local letter, reason, reply = ARGV[at + 4], ARGV[at + 5], ARGV[at + 6]
  if still(id, fn, attempt) then
    if letter ~= '' and redis.call('EXISTS', P .. 'batch:' .. id) == 1 then
      divide(id, fn, reply)
    elseif letter ~= '' then
      conclude(id, fn, letter, reason, reply, ARGV[at + 7], ARGV[at + 8])
    else
      put(id, fn, message)
    end
  end
  if state == 'delayed' then strike_off(id) end
  if state == 'gathering' then shut(id, fn) end
end
return put_back
