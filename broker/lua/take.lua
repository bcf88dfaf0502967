-- Take events into an intake's own in-flight list, and renew the intake's liveness.
--
-- ARGV: intake id, most events to hold, milliseconds of liveness.
-- Keys: bucketwheel:events, :intake:<id>:inflight, :intake:<id>:alive, :intakes
-- Returns the whole in-flight list: what an earlier, interrupted round left comes first.
local intake, most, liveness = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local inflight = P .. 'intake:' .. intake .. ':inflight'
redis.call('SADD', P .. 'intakes', intake)
redis.call('SET', P .. 'intake:' .. intake .. ':alive', '1', 'PX', liveness)
local free = most - redis.call('LLEN', inflight)
if free > 0 then
  local events = redis.call('LPOP', P .. 'events', free)
  if events then
    for _, event in ipairs(events) do redis.call('RPUSH', inflight, event) end
  end
end
return redis.call('LRANGE', inflight, 0, -1)
