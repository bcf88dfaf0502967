-- A reaper's round begins. While none came Redis was away, or stood still, or all intakes did:
-- leases have lapsed then whose workers live, and nobody is taken for dead for a while.
--
-- Returns 1 when those whose lease has lapsed are dead.
local moment, reaping = now(), P .. 'reaping'
local last = redis.call('HGET', reaping, 'last')
if not last then
  redis.call('HSET', reaping, 'since', 0)
elseif moment - last > GAP then
  redis.call('HSET', reaping, 'since', moment)
end
redis.call('HSET', reaping, 'last', moment)
return moment - redis.call('HGET', reaping, 'since') >= GRACE and 1 or 0
