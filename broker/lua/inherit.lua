-- Give a dead intake's events back to the list all intakes take from, oldest first.
--
-- ARGV: id of the intake.
-- Returns the number of events, or -1 when that intake lives.
local intake = ARGV[1]
local inflight = P .. 'intake:' .. intake .. ':inflight'
if redis.call('EXISTS', P .. 'intake:' .. intake .. ':alive') == 1 then return -1 end
local count = 0
while redis.call('LMOVE', inflight, P .. 'events', 'RIGHT', 'LEFT') do count = count + 1 end
redis.call('SREM', P .. 'intakes', intake)
return count
