-- Put invocations back into their functions' queues, each only if it still is as it was found.
--
-- ARGV: state they were found in ('delayed': retry due; 'running': worker dead; 'queued': message
--       lost), milliseconds a queued one must have waited, then for each:
--       id, function, attempt, Celery message, letter (JSON; '' while it may be tried again),
--       reason in one line, reply to who waits
-- Returns the number that was put back; those with a letter are given up instead.
local state, patience = ARGV[1], tonumber(ARGV[2])
local moment = now()
local put_back = 0

local function still(id, fn, attempt)
  local got = redis.call('HMGET', P .. 'invocation:' .. id, 'state', 'attempt', 'worker')
  if got[1] ~= state or got[2] ~= attempt then return false end
  if state == 'running' then
    if redis.call('EXISTS', P .. 'worker:' .. got[3] .. ':alive') == 1 then return false end
    release(got[3], id, fn)
    redis.call('HINCRBY', P .. 'invocation:' .. id, 'lost', 1)
  elseif state == 'queued' then
    local since = redis.call('ZSCORE', P .. 'queued:' .. fn, id)
    return since and tonumber(since) <= moment - patience
  end
  return true
end

local function give_up(id, fn, letter, reason, reply)
  keep(id, fn, letter, reason)
  log(fn, reason)
  if redis.call('HGET', P .. 'invocation:' .. id, 'reply') == '1' then answer(id, reply) end
  close(id)
end

local function put(id, fn, message)
  redis.call('HSET', P .. 'invocation:' .. id, 'state', 'queued')
  redis.call('ZADD', P .. 'queued:' .. fn, moment, id)
  redis.call('LPUSH', 'function.' .. fn, message)
  put_back = put_back + 1
end

for at = 3, #ARGV, 7 do
  local id, fn, attempt, message = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local letter, reason, reply = ARGV[at + 4], ARGV[at + 5], ARGV[at + 6]
  local is_still = still(id, fn, attempt)
  if state == 'delayed' then redis.call('ZREM', P .. 'delayed', id) end
  if is_still and letter ~= '' then
    give_up(id, fn, letter, reason, reply)
  elseif is_still then
    put(id, fn, message)
  end
end
return put_back
