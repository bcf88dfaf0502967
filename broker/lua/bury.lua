-- Strike off a worker, unless it lives or holds something still.
--
-- ARGV: worker id
-- Returns 1 when it was struck off.
local worker = ARGV[1]
if not is_dead(worker) then return 0 end
if redis.call('HLEN', P .. 'running:' .. worker) > 0 then return 0 end
return redis.call('SREM', P .. 'workers', worker)
