-- The one transaction that moves events: empty the in-flight list, enter the ledger, push the
-- Celery messages, keep what could not be delivered as dead letters.
--
-- ARGV: intake id ('' when called by hand), events expected in flight, function generation,
--       duplicate window (s), reply flag ('1' or ''), number of invocations, of messages, of dead
--       letters, then
--       invocations: id, function, event, label
--       messages:    function, Celery message
--       dead letters: id, function, letter (JSON), reason in one line
-- Returns: number of new invocations; -1 when the in-flight list is not ours any more (another
--       intake took it over); -2 when functions have changed since they were read.
local P = 'bucketwheel:'
local intake, expected, generation = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local window, reply = tonumber(ARGV[4]), ARGV[5]
local invocations, messages, letters = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
if (redis.call('GET', P .. 'functions:generation') or '') ~= generation then return -2 end
if intake ~= '' then
  local inflight = P .. 'intake:' .. intake .. ':inflight'
  if redis.call('LLEN', inflight) ~= expected then return -1 end
  redis.call('DEL', inflight)
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local slot = math.floor(time[1] / window)
local seen, seen_before = P .. 'seen:' .. slot, P .. 'seen:' .. (slot - 1)
local at, new = 9, 0
for _ = 1, invocations do
  local id, fn, event, label = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  at = at + 4
  if redis.call('SISMEMBER', seen_before, id) == 0 and redis.call('SADD', seen, id) == 1 then
    redis.call('HSET', P .. 'invocation:' .. id, 'function', fn, 'event', event, 'label', label,
      'state', 'queued', 'attempt', 0, 'failures', 0, 'reply', reply)
    redis.call('ZADD', P .. 'queued:' .. fn, now, id)
    redis.call('SADD', P .. 'queues', fn)
    new = new + 1
  end
end
if invocations > 0 then redis.call('EXPIRE', seen, window * 2 + 60) end
for _ = 1, messages do
  redis.call('LPUSH', 'function.' .. ARGV[at], ARGV[at + 1])
  at = at + 2
end
for _ = 1, letters do
  local id, fn, letter, reason = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  at = at + 4
  redis.call('HSET', P .. 'dead', id, letter)
  redis.call('ZADD', P .. 'dead:index', now, id)
  redis.call('HINCRBY', P .. 'counters:' .. fn, 'dead', 1)
  redis.call('HSET', P .. 'counters:' .. fn, 'last_error', reason)
  redis.call('XADD', P .. 'logs:' .. fn, 'MAXLEN', '~', 2000, '*', 'text', reason)
end
return new
