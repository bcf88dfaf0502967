-- Put invocations back into their functions' queues, each only if it still is as it was found.
--
-- ARGV: state they were found in ('delayed': retry due; 'running': worker dead; 'queued': message
--       lost), milliseconds a queued one must have waited, then for each:
--       id, function, attempt, Celery message
-- Returns the number that was put back.
local P = 'bucketwheel:'
local state, patience = ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local put_back = 0

local function still(id, fn, attempt)
  local got = redis.call('HMGET', P .. 'invocation:' .. id, 'state', 'attempt', 'worker')
  if got[1] ~= state or got[2] ~= attempt then return false end
  if state == 'running' then
    if redis.call('EXISTS', P .. 'worker:' .. got[3] .. ':alive') == 1 then return false end
    redis.call('HDEL', P .. 'running:' .. got[3], id)
  elseif state == 'queued' then
    local since = redis.call('ZSCORE', P .. 'queued:' .. fn, id)
    return since and tonumber(since) <= now - patience
  end
  return true
end

for at = 3, #ARGV, 4 do
  local id, fn, attempt, message = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local is_still = still(id, fn, attempt)
  if state == 'delayed' then redis.call('ZREM', P .. 'delayed', id) end
  if is_still then
    redis.call('HSET', P .. 'invocation:' .. id, 'state', 'queued')
    redis.call('ZADD', P .. 'queued:' .. fn, now, id)
    redis.call('LPUSH', 'function.' .. fn, message)
    put_back = put_back + 1
  end
end
return put_back
