-- Take messages off the head of a function's queue that deliver nothing any more: a paused
-- function's are consumed by nobody.
--
-- ARGV: function, most messages to take
-- Returns the number that was taken. It ends at the first message that delivers something, or that
-- is not ours: what a plain Celery client sends is in no ledger yet.
local queue = 'function.' .. ARGV[1]

local function is_spent(message)
  local is_json, found = pcall(cjson.decode, message)
  local headers = is_json and type(found) == 'table' and found.headers
  local ids = type(headers) == 'table' and headers.invocations
  if type(ids) ~= 'table' then return false end
  for _, id in ipairs(ids) do
    if redis.call('EXISTS', P .. 'invocation:' .. id) == 1 then return false end
  end
  return true
end

for taken = 0, tonumber(ARGV[2]) - 1 do
  local message = redis.call('LINDEX', queue, -1)
  if not message or not is_spent(message) then return taken end
  redis.call('RPOP', queue)
end
return tonumber(ARGV[2])
