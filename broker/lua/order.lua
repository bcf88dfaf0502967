-- Order by key, for scripts that begin and end invocations. `line` is the key, `place` that of a
-- write among the others of its key. What is known of a key is forgotten once nothing older can be
-- waiting: an event lives for 6 hours at most.
local ORDER_KEPT = 22200
-- Milliseconds after which a write is looked at again that waits for another of its key.
local TURN = 500

local function order_key(fn, line) return P .. 'order:' .. fn .. ':' .. line end

-- Whether a write must not begin. One that is older than what was handled is closed; one whose key
-- is at work waits where retries wait, so that the others go on.
local function is_out_of_order(id, fn, line, place)
  local got = redis.call('HMGET', order_key(fn, line), 'handled', 'holder')
  if got[1] and place < got[1] then
    redis.call('ZREM', P .. 'queued:' .. fn, id)
    redis.call('HINCRBY', P .. 'counters:' .. fn, 'superseded', 1)
    log(fn, id .. ' was not run: a newer write of its key has been handled')
    close(id)
    return true
  end
  if not got[2] or got[2] == id then return false end
  if redis.call('HGET', P .. 'invocation:' .. got[2], 'state') ~= 'running' then return false end
  redis.call('ZREM', P .. 'queued:' .. fn, id)
  delay(id, now() + TURN)
  return true
end

-- A write begins; while it runs, no other of its key may.
local function take_turn(id, fn, line)
  redis.call('HSET', order_key(fn, line), 'holder', id)
  redis.call('EXPIRE', order_key(fn, line), ORDER_KEPT)
end

-- A write has been handled.
local function handled(fn, line, place)
  local key = order_key(fn, line)
  local before = redis.call('HGET', key, 'handled')
  if not before or before < place then redis.call('HSET', key, 'handled', place) end
  redis.call('EXPIRE', key, ORDER_KEPT)
end
