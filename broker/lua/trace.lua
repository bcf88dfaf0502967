-- Tell whose invocations environments have from now on.
--
-- ARGV: seconds for which that is kept, the most that is kept of an environment, then for each:
--       environment, chain that ends with its invocation ('' when no function has caused that)
local kept, most = ARGV[1], ARGV[2] - 1
local moment = now()
for at = 3, #ARGV, 2 do
  local key = P .. 'lineage:' .. ARGV[at]
  redis.call('LPUSH', key, moment .. '\n' .. ARGV[at + 1])
  redis.call('LTRIM', key, 0, most)
  redis.call('EXPIRE', key, kept)
end
