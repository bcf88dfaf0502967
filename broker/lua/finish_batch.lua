-- The one transaction that ends an attempt at a batch: put it back whole, or have it settled.
--
-- ARGV: worker id, then for each attempt:
--       id, function, attempt, status ('succeeded', 'failed', 'returned': not run, back in line),
--       retries allowed, delay of the next retry (ms), counters to raise (names with a blank
--       between them), ids of the records that failed of a batch that succeeded (the same way),
--       what was wrong (JSON, or ''), reason in one line (or ''), number of log entries,
--       log entries...
-- Returns for each 1, or 0 when the attempt is not the current one any more: then nothing was
--       changed but the log.
-- A batch that failed is retried whole while another retry is left after that: in the last one
-- each record is alone, so that a bad one does not take the others along.
local worker = ARGV[1]
local moment = now()

local function fail(id, failures, a, counters)
  local records = redis.call('LLEN', P .. 'batch:' .. id)
  redis.call('HINCRBY', counters, 'failed', records)
  redis.call('HSET', counters, 'last_error', a.reason)
  if failures + 1 < a.retries then
    redis.call('HINCRBY', P .. 'invocation:' .. id, 'failures', 1)
    redis.call('HINCRBY', counters, 'retried', records)
    delay(id, moment + a.delay)
  else
    end_batch(id, 'failed', a.fault, a.retries, a.delay)
  end
end

local function succeed(id, a, counters)
  for record in a.failed:gmatch('%S+') do
    redis.call('SADD', P .. 'batch:' .. id .. ':failed', record)
    redis.call('HINCRBY', counters, 'failed', 1)
  end
  if a.reason ~= '' then redis.call('HSET', counters, 'last_error', a.reason) end
  end_batch(id, 'succeeded', a.fault, a.retries, a.delay)
end

local function finish(id, fn, a)
  local failures = end_attempt(worker, id, fn, a.attempt)
  if not failures then return 0 end
  local counters = P .. 'counters:' .. fn
  for counter in a.counted:gmatch('%S+') do redis.call('HINCRBY', counters, counter, 1) end
  if a.status == 'returned' then
    delay(id, moment + a.delay)
  elseif a.status == 'failed' then
    fail(id, failures, a, counters)
  else
    succeed(id, a, counters)
  end
  return 1
end

local answers, at = {}, 2
while at <= #ARGV do
  local id, fn, logs = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 10])
  answers[#answers + 1] = finish(id, fn, {
    attempt = ARGV[at + 2], status = ARGV[at + 3], retries = tonumber(ARGV[at + 4]),
    delay = tonumber(ARGV[at + 5]), counted = ARGV[at + 6], failed = ARGV[at + 7],
    fault = ARGV[at + 8], reason = ARGV[at + 9]})
  for n = 1, logs do
    log(fn, ARGV[at + 10 + n])
  end
  at = at + 11 + logs
end
return answers
