-- The one transaction that moves events: empty the in-flight list, enter the ledger, push the
-- Celery messages, keep what could not be delivered as dead letters.
--
-- ARGV: intake id ('' when called by hand), events expected in flight, function generation,
--       duplicate window (s), reply flag ('1' or ''), number of messages, of dead letters,
--       of firings, then
--       firings:      schedule, ms when it was due last, ms when it is due now
--       messages:     function, Celery message (or `gather <id> <records> <bytes> <ms>`: they are
--                     records of batches), number of its invocations, and for each of these
--                     id, event, label, number of arguments that follow, and these: further
--                     fields of its ledger entry, name and value
--       dead letters: id, function, letter (JSON), reason in one line
--       counts:       function, counter, amount; until the end
-- Returns: number of new invocations; -1 when the in-flight list is not ours any more (another
--       intake took it over); -2 when functions have changed since they were read; -3 when a
--       schedule has been fired by another. Then nothing was done.
-- A message is pushed when any of its invocations is new: the others have finished or are held,
-- and whoever takes the message finds that out.
local intake, expected, generation = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local window, reply = tonumber(ARGV[4]), ARGV[5]
local messages, letters, firings = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
if (redis.call('GET', P .. 'functions:generation') or '') ~= generation then return -2 end
for at = 9, 6 + firings * 3, 3 do
  if redis.call('HGET', P .. 'schedules', ARGV[at]) ~= ARGV[at + 1] then return -3 end
end
if intake ~= '' then
  local inflight = P .. 'intake:' .. intake .. ':inflight'
  if redis.call('LLEN', inflight) ~= expected then return -1 end
  redis.call('DEL', inflight)
  redis.call('INCRBY', P .. 'events:taken', expected)
end

local moment = now()
local slot = math.floor(moment / 1000 / window)
local seen, seen_before = P .. 'seen:' .. slot, P .. 'seen:' .. (slot - 1)

local function enter(fn, id, event, label, state, first, last)
  if not is_new(id, seen, seen_before) then return 0 end
  write(id, fn, event, label, state, reply, moment)
  if first <= last then redis.call('HSET', P .. 'invocation:' .. id, unpack(ARGV, first, last)) end
  if state == 'queued' then redis.call('ZADD', P .. 'queued:' .. fn, moment, id) end
  return 1
end

for at = 9, 6 + firings * 3, 3 do
  redis.call('HSET', P .. 'schedules', ARGV[at], ARGV[at + 2])
end

local at, total = 9 + firings * 3, 0
for _ = 1, messages do
  local fn, message, count = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local b, new = batching(message), 0
  at = at + 3
  for _ = 1, count do
    local last = at + 3 + tonumber(ARGV[at + 3])
    local id, event, label = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    local entered = enter(fn, id, event, label, b and 'batched' or 'queued', at + 4, last)
    if b and entered == 1 then gather(fn, b, id, event, label) end
    new = new + entered
    at = last + 1
  end
  if new > 0 then
    redis.call('SADD', P .. 'queues', fn)
    if not b then redis.call('LPUSH', 'function.' .. fn, message) end
  end
  total = total + new
end
if total > 0 then redis.call('EXPIRE', seen, REMEMBERED) end
for _ = 1, letters do
  local id, fn, letter, reason = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  at = at + 4
  keep(id, fn, letter, reason)
  log(fn, reason)
end
for place = at, #ARGV, 3 do
  redis.call('HINCRBY', P .. 'counters:' .. ARGV[place], ARGV[place + 1], ARGV[place + 2])
end
return total
