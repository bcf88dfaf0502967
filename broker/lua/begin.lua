-- A worker takes invocations: each becomes `running`, with one attempt more.
--
-- ARGV: worker id, duplicate window (s), then for each: id, function, event ('' when the ledger
--       has it; otherwise a message by a plain Celery client, which enters the ledger here),
--       reserved concurrency ('' for none), Celery message to put it back in line with.
-- Returns for each {event, attempt, failures, reply}; {} when there is nothing to do: it has
--       finished, or a living worker holds it; {'throttled'} when as many as are reserved run
--       already: it is the next in line again.
local worker, window = ARGV[1], tonumber(ARGV[2])
local slot = math.floor(now() / 1000 / window)

local function enter(id, fn, event)
  local seen = P .. 'seen:' .. slot
  if redis.call('SISMEMBER', P .. 'seen:' .. (slot - 1), id) == 1 then return end
  if redis.call('SADD', seen, id) == 0 then return end
  redis.call('EXPIRE', seen, window * 2 + 60)
  redis.call('HSET', P .. 'invocation:' .. id, 'function', fn, 'event', event, 'label', '',
    'state', 'queued', 'attempt', 0, 'failures', 0, 'reply', '')
  redis.call('SADD', P .. 'queues', fn)
end

local function throttle(id, fn, message)
  if redis.call('HSETNX', P .. 'invocation:' .. id, 'throttled', '1') == 1 then
    redis.call('HINCRBY', P .. 'counters:' .. fn, 'throttled', 1)
  end
  redis.call('ZADD', P .. 'queued:' .. fn, 'NX', now(), id)
  redis.call('RPUSH', 'function.' .. fn, message)
  return {'throttled'}
end

local function begin(id, fn, reserved, message)
  local entry = P .. 'invocation:' .. id
  local got = redis.call('HMGET', entry, 'event', 'attempt', 'failures', 'reply', 'state', 'worker')
  if not got[1] or got[5] == 'delayed' then return {} end
  if got[5] == 'running' then
    if redis.call('EXISTS', P .. 'worker:' .. got[6] .. ':alive') == 1 then return {} end
    release(got[6], id, fn)
    redis.call('HINCRBY', entry, 'lost', 1)
    redis.call('HSET', entry, 'state', 'queued')
  end
  if reserved and redis.call('SCARD', P .. 'concurrent:' .. fn) >= reserved then
    return throttle(id, fn, message)
  end
  redis.call('HSET', entry, 'state', 'running', 'worker', worker, 'attempt', got[2] + 1)
  redis.call('ZREM', P .. 'queued:' .. fn, id)
  hold(worker, id, fn)
  return {got[1], got[2] + 1, tonumber(got[3]), got[4]}
end

local answers = {}
for at = 3, #ARGV, 5 do
  local id, fn, event = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if event ~= '' and redis.call('EXISTS', P .. 'invocation:' .. id) == 0 then
    enter(id, fn, event)
  end
  answers[#answers + 1] = begin(id, fn, tonumber(ARGV[at + 3]), ARGV[at + 4])
end
return answers
