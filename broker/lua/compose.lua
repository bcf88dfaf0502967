-- Read a piece of a batch's event: its records, out of their own events `{"Records":[...]}`.
--
-- ARGV: id of the batch, number of the first record, and of the last
-- Returns them with a comma between each two.
local pieces = {}
for _, record in ipairs(redis.call('LRANGE', P .. 'batch:' .. ARGV[1], ARGV[2], ARGV[3])) do
  local event = redis.call('HGET', P .. 'invocation:' .. record, 'event')
  if event then pieces[#pieces + 1] = event:sub(13, -3) end
end
return table.concat(pieces, ',')
