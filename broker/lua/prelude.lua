-- What the scripts share; it is put in front of each.
local P = 'bucketwheel:'

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

-- Append to a function's log, which is capped.
local function log(fn, text)
  redis.call('XADD', P .. 'logs:' .. fn, 'MAXLEN', '~', 2000, '*', 'text', text)
end

-- Answer who waits for a response; nobody may be there any more.
local function answer(id, reply)
  redis.call('RPUSH', P .. 'reply:' .. id, reply)
  redis.call('EXPIRE', P .. 'reply:' .. id, 60)
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

-- Close a ledger entry: the invocation has ended.
local function close(id) redis.call('DEL', P .. 'invocation:' .. id) end
