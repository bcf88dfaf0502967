-- A worker takes invocations: each becomes `running`, with one attempt more.
--
-- ARGV: worker id, duplicate window (s), then for each: id, function, event ('' when the ledger
--       has it; otherwise a message by a plain Celery client, which enters the ledger here),
--       reserved concurrency ('' for none), Celery message to put it back in line with.
-- Returns for each {event, attempt, failures, reply, ms since it entered, records of a batch or 0,
--       chain of invocations it comes from, a line each}; a batch's event is '', see compose.lua;
--       {} when there is nothing to do: it has finished, or a living worker holds it, or the order
--       of its key forbids it; {'throttled'} when as many as are reserved run already: it is the
--       next in line again.
local worker, window = ARGV[1], tonumber(ARGV[2])
local moment = now()
local slot = math.floor(moment / 1000 / window)
local refused = {}
-- A reaper that took it for dead may have struck it off; its work would not be looked for.
redis.call('SADD', P .. 'workers', worker)

local function enter(id, fn, event)
  local seen = P .. 'seen:' .. slot
  if not is_new(id, seen, P .. 'seen:' .. (slot - 1)) then return end
  redis.call('EXPIRE', seen, REMEMBERED)
  write(id, fn, event, '', 'queued', '', moment)
  redis.call('SADD', P .. 'queues', fn)
end

-- Put back in line only when all are looked at: the first of them must be the next again.
local function throttle(id, fn, message)
  if redis.call('HSETNX', P .. 'invocation:' .. id, 'throttled', '1') == 1 then
    redis.call('HINCRBY', P .. 'counters:' .. fn, 'throttled', 1)
  end
  redis.call('ZADD', P .. 'queued:' .. fn, 'NX', moment, id)
  refused[#refused + 1] = {'function.' .. fn, message}
  return {'throttled'}
end

-- Who writes with a client that names no environment is taken for the furthest that his function
-- has lately begun: of each generation the latest is kept.
local function remember(id, fn, generation, chain)
  local lately = P .. 'lately:' .. fn
  redis.call('HSET', lately, generation, moment .. '\n' .. chain .. '\n' .. fn .. ' ' .. id)
  redis.call('EXPIRE', lately, 1000)
end

local function begin(id, fn, reserved, message)
  local entry = P .. 'invocation:' .. id
  local got = redis.call('HMGET', entry, 'event', 'attempt', 'failures', 'reply', 'state', 'worker',
    'at', 'order', 'sequencer', 'generation', 'chain')
  if not got[1] or (got[5] ~= 'queued' and got[5] ~= 'running') then return {} end
  if got[5] == 'running' then
    if not is_dead(got[6]) then return {} end
    release(got[6], id, fn)
    redis.call('HINCRBY', entry, 'lost', 1)
    redis.call('HSET', entry, 'state', 'queued')
  end
  if got[8] and is_out_of_order(id, fn, got[8], got[9]) then return {} end
  if reserved and redis.call('SCARD', P .. 'concurrent:' .. fn) >= reserved then
    return throttle(id, fn, message)
  end
  if got[8] then take_turn(id, fn, got[8]) end
  if got[10] then remember(id, fn, got[10], got[11]) end
  redis.call('HSET', entry, 'state', 'running', 'worker', worker, 'attempt', got[2] + 1)
  redis.call('ZREM', P .. 'queued:' .. fn, id)
  hold(worker, id, fn)
  local records = got[1] == '' and redis.call('LLEN', P .. 'batch:' .. id) or 0
  return {got[1], got[2] + 1, tonumber(got[3]), got[4], moment - (got[7] or moment), records,
    got[11] or ''}
end

local answers = {}
for at = 3, #ARGV, 5 do
  local id, fn, event = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if event ~= '' and redis.call('EXISTS', P .. 'invocation:' .. id) == 0 then
    enter(id, fn, event)
  end
  answers[#answers + 1] = begin(id, fn, tonumber(ARGV[at + 3]), ARGV[at + 4])
end
for n = #refused, 1, -1 do redis.call('RPUSH', refused[n][1], refused[n][2]) end
return answers
