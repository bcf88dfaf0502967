-- A deliverer takes records of a function that are due, or tells what came of one.
--
-- ARGV: what, function, then for
--   'take':  most records, ms for which nobody else gets them. Returns for each {id, tries,
--            destination, record, chain, ms when the invocation ended, ms since then}.
--   'done':  id, tries, list to append the record to ('' when it is delivered already).
--   'later': id, tries, ms until it is due again, tries from now on.
--   'drop':  id, tries, letter (JSON), reason in one line.
-- The last three return 1, or 0 when another deliverer has the record meanwhile: nothing was done.
local what, fn = ARGV[1], ARGV[2]
local outbox, moment = P .. 'outbox:' .. fn, now()

local function take(most, lease)
  local taken = {}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', outbox, '-inf', moment, 'LIMIT', 0, most)) do
    local key = P .. 'outgoing:' .. id
    local tries = redis.call('HINCRBY', key, 'tries', 1)
    redis.call('ZADD', outbox, moment + lease, id)
    local got = redis.call('HMGET', key, 'destination', 'record', 'chain', 'at')
    taken[#taken + 1] = {id, tries, got[1], got[2], got[3] or '', got[4], moment - got[4]}
  end
  return taken
end

if what == 'take' then return take(ARGV[3], ARGV[4]) end

local id, key = ARGV[3], P .. 'outgoing:' .. ARGV[3]
if redis.call('HGET', key, 'tries') ~= ARGV[4] then return 0 end
if what == 'later' then
  redis.call('HSET', key, 'tries', ARGV[6])
  redis.call('ZADD', outbox, moment + ARGV[5], id)
  return 1
end
if what == 'done' and ARGV[5] ~= '' then
  redis.call('RPUSH', ARGV[5], redis.call('HGET', key, 'record'))
end
if what == 'drop' then
  keep(id, fn, ARGV[5], ARGV[6])
  log(fn, ARGV[6])
  redis.call('HINCRBY', P .. 'counters:' .. fn, 'destination_failures', 1)
end
redis.call('DEL', key)
redis.call('ZREM', outbox, id)
return 1
