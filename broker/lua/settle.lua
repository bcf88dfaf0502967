-- Settle a piece of a batch that has ended: what becomes of its records, some at a time, so that
-- a batch of 10,000 holds nobody up. Whoever comes goes on where the last one stopped.
--
-- ARGV: most records, then ids of batches.
-- Returns 1 when there may be more to settle.
-- Records are closed when they have succeeded. Those that failed are retried each alone; the
-- reaper gives up those that have no retry left, for which they are due at once with their fault.
local left = tonumber(ARGV[1])

local function fail(record, a, moment, counters)
  local entry, failures = P .. 'invocation:' .. record, a.failures + 1
  redis.call('HSET', entry, 'attempt', a.attempt, 'failures', failures)
  if failures > a.retries then
    redis.call('HSET', entry, 'fault', a.fault)
    delay(record, moment)
  else
    delay(record, moment + a.delay)
    redis.call('HINCRBY', counters, 'retried', 1)
  end
end

local function settle(id)
  local entry, records = P .. 'invocation:' .. id, P .. 'batch:' .. id
  local got = redis.call('HMGET', entry, 'state', 'function', 'outcome', 'fault', 'retries',
    'delay', 'failures', 'attempt')
  if got[1] ~= 'settling' or left <= 0 then return end
  local counters, moment = P .. 'counters:' .. got[2], now()
  local a = {fault = got[4], retries = tonumber(got[5]), delay = tonumber(got[6]),
    failures = tonumber(got[7]), attempt = got[8]}
  local succeeded = 0
  for _, record in ipairs(redis.call('LPOP', records, left) or {}) do
    left = left - 1
    local named = redis.call('SISMEMBER', records .. ':failed', record) == 1
    if got[3] == 'failed' or named then
      fail(record, a, moment, counters)
    else
      close(record)
      succeeded = succeeded + 1
    end
  end
  if succeeded > 0 then redis.call('HINCRBY', counters, 'succeeded', succeeded) end
  if redis.call('EXISTS', records) == 1 then return end
  redis.call('DEL', records .. ':failed')
  redis.call('SREM', P .. 'settling', id)
  close(id)
end

for at = 2, #ARGV do settle(ARGV[at]) end
return left <= 0 and 1 or 0
