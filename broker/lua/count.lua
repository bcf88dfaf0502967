-- Count what the watch compares from look to look.
--
-- Returns {notifications that have been published; those that have ever come: also what waits or
--       is in an intake's hands; invocations, batches and outgoing records that are not finished}.
local published = tonumber(redis.call('GET', P .. 'events:taken') or 0)
local came = published + redis.call('LLEN', P .. 'events')
for _, intake in ipairs(redis.call('SMEMBERS', P .. 'intakes')) do
  came = came + redis.call('LLEN', P .. 'intake:' .. intake .. ':inflight')
end

local unfinished = redis.call('ZCARD', P .. 'delayed') + redis.call('ZCARD', P .. 'gathering')
  + redis.call('SCARD', P .. 'settling')
for _, fn in ipairs(redis.call('SMEMBERS', P .. 'queues')) do
  unfinished = unfinished + redis.call('ZCARD', P .. 'queued:' .. fn)
end
for _, fn in ipairs(redis.call('SMEMBERS', P .. 'outboxes')) do
  unfinished = unfinished + redis.call('ZCARD', P .. 'outbox:' .. fn)
end
for _, worker in ipairs(redis.call('SMEMBERS', P .. 'workers')) do
  unfinished = unfinished + redis.call('HLEN', P .. 'running:' .. worker)
end
return {published, came, unfinished}
