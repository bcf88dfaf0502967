-- What the scripts share; it is put in front of each.
local P = 'bucketwheel:'

-- Seconds for which handled invocations are remembered at most; the watch forgets them earlier,
-- when no sweep can come upon their objects any more (broker/memory.py).
local REMEMBERED = 604800

-- Milliseconds by Redis's clock, the only one that all hosts share.
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Keep a dead letter (JSON), count it, and show its reason (one line).
local function keep(id, fn, letter, reason)
  redis.call('HSET', P .. 'dead', id, letter)
  redis.call('ZADD', P .. 'dead:index', now(), id)
  redis.call('HINCRBY', P .. 'counters:' .. fn, 'dead', 1)
  redis.call('HSET', P .. 'counters:' .. fn, 'last_error', reason)
end

-- Put the record of an invocation's end into its function's outbox; a deliverer carries it.
local function tell(id, fn, destination, record)
  redis.call('HSET', P .. 'outgoing:' .. id, 'function', fn, 'destination', destination,
    'record', record, 'tries', 0, 'at', now())
  local chain = redis.call('HGET', P .. 'invocation:' .. id, 'chain')
  if chain then redis.call('HSET', P .. 'outgoing:' .. id, 'chain', chain) end
  redis.call('ZADD', P .. 'outbox:' .. fn, now(), id)
  redis.call('SADD', P .. 'outboxes', fn)
end

-- An invocation is not tried any more: its record goes to a destination, or it is a dead letter.
local function give_up(id, fn, letter, reason, destination, record)
  if destination == '' then return keep(id, fn, letter, reason) end
  tell(id, fn, destination, record)
  redis.call('HSET', P .. 'counters:' .. fn, 'last_error', reason)
end

-- Append to a function's log, which is capped.
local function log(fn, text)
  redis.call('XADD', P .. 'logs:' .. fn, 'MAXLEN', '~', 2000, '*', 'text', text)
end

-- Answer who waits for a response; nobody may be there any more.
local function answer(id, reply)
  redis.call('RPUSH', P .. 'reply:' .. id, reply)
  redis.call('EXPIRE', P .. 'reply:' .. id, 60)
end

-- Milliseconds between rounds of the reapers that count as an absence of Redis, and for which no
-- worker is taken for dead after it: each renews its lease once a second.
local GAP, GRACE = 2500, 4000

-- Whether a worker is dead: its lease has lapsed, and not because nobody could renew any.
local function is_dead(worker)
  if redis.call('EXISTS', P .. 'worker:' .. worker .. ':alive') == 1 then return false end
  local reaping = redis.call('HMGET', P .. 'reaping', 'last', 'since')
  if not reaping[1] then return true end
  return now() - reaping[1] <= GAP and now() - reaping[2] >= GRACE
end

-- A worker holds an invocation from here on; `release` ends that. The set is what the reserved
-- concurrency of a function is counted by, over all hosts.
local function hold(worker, id, fn)
  redis.call('HSET', P .. 'running:' .. worker, id, fn)
  redis.call('SADD', P .. 'concurrent:' .. fn, id)
end

local function release(worker, id, fn)
  redis.call('HDEL', P .. 'running:' .. worker, id)
  redis.call('SREM', P .. 'concurrent:' .. fn, id)
end

-- A worker's attempt has ended: it holds the invocation no more. Returns failures so far, and the
-- order and sequencer of a write; nothing when the attempt is not the current one any more.
local function end_attempt(worker, id, fn, attempt)
  local got = redis.call('HMGET', P .. 'invocation:' .. id, 'attempt', 'failures', 'state', 'worker',
    'order', 'sequencer')
  if got[1] ~= attempt or got[3] ~= 'running' or got[4] ~= worker then return end
  release(worker, id, fn)
  return tonumber(got[2]), got[5], got[6]
end

-- Whether an invocation is new to the sets of its time slot and the one before; it is not any more.
local function is_new(id, seen, seen_before)
  if redis.call('SISMEMBER', seen_before, id) == 1 then return false end
  return redis.call('SADD', seen, id) == 1
end

-- A ledger entry at the beginning of its way; `moment` (ms) is when it entered.
local function write(id, fn, event, label, state, reply, moment)
  redis.call('HSET', P .. 'invocation:' .. id, 'function', fn, 'event', event, 'label', label,
    'state', state, 'attempt', 0, 'failures', 0, 'reply', reply, 'at', moment)
end

-- Have an invocation wait until a moment (ms); the reaper puts it in line then.
local function delay(id, due)
  redis.call('HSET', P .. 'invocation:' .. id, 'state', 'delayed')
  redis.call('ZADD', P .. 'delayed', due, id)
end

-- A batch has ended; what becomes of its records is settled in pieces.
local function end_batch(id, outcome, fault, retries, delay)
  redis.call('HSET', P .. 'invocation:' .. id, 'state', 'settling', 'outcome', outcome,
    'fault', fault, 'retries', retries, 'delay', delay)
  redis.call('SADD', P .. 'settling', id)
end

-- Close a ledger entry: the invocation has ended.
local function close(id) redis.call('DEL', P .. 'invocation:' .. id) end
