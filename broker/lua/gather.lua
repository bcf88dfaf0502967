-- How records gather to batches: shared by scripts that enter invocations.
--
-- A batch is a ledger entry without an event of its own: that is made of its records' events when
-- a worker takes it. It is full at a number of records, or before it outgrows its bytes; what is
-- full or has waited for its window is due, and the reaper queues it.

-- Ids of the batches that one call opens are the given one with a number at its end.
local opened = 0

local function open(fn, b, label)
  local id = b.id .. string.format('%04x', opened)
  opened = opened + 1
  write(id, fn, '', label, 'gathering', '', now())
  redis.call('HSET', P .. 'invocation:' .. id, 'bytes', #'{"Records":[]}' - 1)
  redis.call('SET', P .. 'gathering:' .. fn, id)
  redis.call('ZADD', P .. 'gathering', now() + b.window, id)
  return id
end

local function shut(fn, id)
  redis.call('DEL', P .. 'gathering:' .. fn)
  redis.call('ZADD', P .. 'gathering', now(), id)
end

-- A batch has come as far through functions as that of its records which has come farthest.
local function lengthen(id, record)
  local of = redis.call('HMGET', P .. 'invocation:' .. record, 'generation', 'chain')
  if not of[1] then return end
  local known = redis.call('HGET', P .. 'invocation:' .. id, 'generation')
  if not known or tonumber(known) < tonumber(of[1]) then
    redis.call('HSET', P .. 'invocation:' .. id, 'generation', of[1], 'chain', of[2])
  end
end

-- A record joins the open batch of its function, or opens one. It adds the bytes of its event
-- without `{"Records":[` and `]}`, and a comma.
local function gather(fn, b, record, event, label)
  local bytes, id = #event - 13, redis.call('GET', P .. 'gathering:' .. fn)
  if id and redis.call('HGET', P .. 'invocation:' .. id, 'bytes') + bytes > b.bytes then
    shut(fn, id)
    id = false
  end
  id = id or open(fn, b, label)
  lengthen(id, record)
  redis.call('HINCRBY', P .. 'invocation:' .. id, 'bytes', bytes)
  if redis.call('RPUSH', P .. 'batch:' .. id, record) >= b.records then shut(fn, id) end
end

-- `gather <id> <records> <bytes> <ms>`, what stands in a message's place; nil: it is a message.
local function batching(message)
  local id, records, bytes, window = message:match('^gather (%S+) (%d+) (%d+) (%d+)$')
  return id and {id = id, records = tonumber(records), bytes = tonumber(bytes), window = window}
end
