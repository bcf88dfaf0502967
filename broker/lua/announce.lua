-- Replace the list of deployed functions, unless functions have changed since they were read.
--
-- ARGV: function generation, then for each function: name, version
-- Returns 1, or 0 when nothing was done.
if (redis.call('GET', P .. 'functions:generation') or '') ~= ARGV[1] then return 0 end
redis.call('DEL', P .. 'functions')
for at = 2, #ARGV, 2 do redis.call('HSET', P .. 'functions', ARGV[at], ARGV[at + 1]) end
return 1
