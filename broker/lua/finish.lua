-- The one transaction that ends an attempt: close the ledger entry, or schedule its retry, or
-- keep it as a dead letter; answer who waits; count and log.
--
-- ARGV: worker id, then for each attempt:
--       id, function, attempt, status ('succeeded', 'failed', 'returned': not run, back in line),
--       retries allowed, delay of the next retry (ms), counters to raise (names with a blank
--       between them), reply (or ''),
--       letter (JSON, or ''), reason in one line (or ''), destination (or '') of the record of
--       its end, record (JSON), number of log entries, log entries...
-- Returns for each 1, or 0 when the attempt is not the current one any more: then nothing was
--       changed but the log.
local worker = ARGV[1]
local moment = now()

local function fail(id, fn, failures, a, counters)
  redis.call('HINCRBY', counters, 'failed', 1)
  redis.call('HSET', counters, 'last_error', a.reason)
  if a.reply ~= '' then
    answer(id, a.reply)
    close(id)
  elseif failures < a.retries then
    redis.call('HSET', P .. 'invocation:' .. id, 'failures', failures + 1)
    delay(id, moment + a.delay)
    redis.call('HINCRBY', counters, 'retried', 1)
  else
    give_up(id, fn, a.letter, a.reason, a.destination, a.record)
    close(id)
  end
end

local function finish(id, fn, a)
  local failures, order, sequencer = end_attempt(worker, id, fn, a.attempt)
  if not failures then return 0 end
  local counters = P .. 'counters:' .. fn
  if a.status == 'returned' then
    delay(id, moment + a.delay)
    return 1
  end
  for counter in a.counted:gmatch('%S+') do redis.call('HINCRBY', counters, counter, 1) end
  if a.status == 'failed' then
    fail(id, fn, failures, a, counters)
  else
    redis.call('HINCRBY', counters, 'succeeded', 1)
    if order then handled(fn, order, sequencer) end
    if a.reply ~= '' then answer(id, a.reply) end
    if a.destination ~= '' then tell(id, fn, a.destination, a.record) end
    close(id)
  end
  return 1
end

local answers, at = {}, 2
while at <= #ARGV do
  local id, fn, logs = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 12])
  answers[#answers + 1] = finish(id, fn, {
    attempt = ARGV[at + 2], status = ARGV[at + 3], retries = tonumber(ARGV[at + 4]),
    delay = tonumber(ARGV[at + 5]), counted = ARGV[at + 6], reply = ARGV[at + 7],
    letter = ARGV[at + 8], reason = ARGV[at + 9], destination = ARGV[at + 10],
    record = ARGV[at + 11]})
  for n = 1, logs do
    log(fn, ARGV[at + 12 + n])
  end
  at = at + 13 + logs
end
return answers
