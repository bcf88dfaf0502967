-- The one transaction that moves events: empty the in-flight list, enter the ledger, push the
-- Celery messages, keep what could not be delivered as dead letters.
--
-- ARGV: intake id ('' when called by hand), events expected in flight, function generation,
--       duplicate window (s), reply flag ('1' or ''), number of messages, of dead letters, then
--       messages:     function, Celery message, number of its invocations, and for each of these
--                     id, event, label
--       dead letters: id, function, letter (JSON), reason in one line
-- Returns: number of new invocations; -1 when the in-flight list is not ours any more (another
--       intake took it over); -2 when functions have changed since they were read.
-- A message is pushed when any of its invocations is new: the others have finished or are held,
-- and whoever takes the message finds that out.
local intake, expected, generation = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local window, reply = tonumber(ARGV[4]), ARGV[5]
local messages, letters = tonumber(ARGV[6]), tonumber(ARGV[7])
if (redis.call('GET', P .. 'functions:generation') or '') ~= generation then return -2 end
if intake ~= '' then
  local inflight = P .. 'intake:' .. intake .. ':inflight'
  if redis.call('LLEN', inflight) ~= expected then return -1 end
  redis.call('DEL', inflight)
end

local moment = now()
local slot = math.floor(moment / 1000 / window)
local seen, seen_before = P .. 'seen:' .. slot, P .. 'seen:' .. (slot - 1)

local function enter(fn, id, event, label)
  if redis.call('SISMEMBER', seen_before, id) == 1 then return 0 end
  if redis.call('SADD', seen, id) == 0 then return 0 end
  redis.call('HSET', P .. 'invocation:' .. id, 'function', fn, 'event', event, 'label', label,
    'state', 'queued', 'attempt', 0, 'failures', 0, 'reply', reply)
  redis.call('ZADD', P .. 'queued:' .. fn, moment, id)
  return 1
end

local at, total = 8, 0
for _ = 1, messages do
  local fn, message, count = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local new = 0
  at = at + 3
  for _ = 1, count do
    new = new + enter(fn, ARGV[at], ARGV[at + 1], ARGV[at + 2])
    at = at + 3
  end
  if new > 0 then
    redis.call('SADD', P .. 'queues', fn)
    redis.call('LPUSH', 'function.' .. fn, message)
  end
  total = total + new
end
if total > 0 then redis.call('EXPIRE', seen, window * 2 + 60) end
for _ = 1, letters do
  local id, fn, letter, reason = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  at = at + 4
  keep(id, fn, letter, reason)
  log(fn, reason)
end
return total
