-- Put dead letters back on their way; each leaves the store in the same step, so that a retry
-- which was interrupted can be done again.
--
-- ARGV: for each: id, kind, function, content, further:
--   'invocation':   event, Celery message. Its id stays: duplicates of its event are still dropped.
--   'record':       record of an invocation's end, destination
--   'notification': what the object store sent, ''
--   'message':      Celery message of another client, ''
-- Returns for each 1; 0 when the letter is gone; -1 when its function is not deployed: it stays.
local moment = now()

local function line_up(id, fn, event, message)
  if redis.call('EXISTS', P .. 'invocation:' .. id) == 1 then return end -- its event came again, and is in line
  write(id, fn, event, 'again', 'queued', '', moment)
  redis.call('ZADD', P .. 'queued:' .. fn, moment, id)
  redis.call('SADD', P .. 'queues', fn)
  redis.call('LPUSH', 'function.' .. fn, message)
end

local function send(kind, id, fn, content, further)
  if kind == 'invocation' then line_up(id, fn, content, further) end
  if kind == 'record' then tell(id, fn, further, content) end
  if kind == 'notification' then redis.call('RPUSH', P .. 'events', content) end
  if kind == 'message' then redis.call('LPUSH', 'function.' .. fn, content) end
end

local function revive(id, kind, fn, content, further)
  if redis.call('HEXISTS', P .. 'dead', id) == 0 then return 0 end
  local needs = (kind == 'invocation' or kind == 'message') and fn ~= 'bucketwheel:deploy'
  if needs and redis.call('HEXISTS', P .. 'functions', fn) == 0 then return -1 end
  redis.call('HDEL', P .. 'dead', id)
  redis.call('ZREM', P .. 'dead:index', id)
  send(kind, id, fn, content, further)
  return 1
end

local answers = {}
for at = 1, #ARGV, 5 do
  answers[#answers + 1] = revive(ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4])
end
return answers
