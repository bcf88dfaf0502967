-- Give back invocations that the ledger has a worker hold, and that it knows nothing of: the
-- answer to its claim was lost on the way, or a crash of Redis has undone their end.
--
-- ARGV: worker id, ids it does not know
-- Returns the number that was given back; the reaper puts them in line.
local worker, moment, count = ARGV[1], now(), 0
for at = 2, #ARGV do
  local id = ARGV[at]
  local got = redis.call('HMGET', P .. 'invocation:' .. id, 'state', 'worker', 'function')
  if got[1] == 'running' and got[2] == worker then
    release(worker, id, got[3])
    delay(id, moment)
    count = count + 1
  elseif got[2] ~= worker then
    redis.call('HDEL', P .. 'running:' .. worker, id)
  end
end
return count
