-- Common to the scripts: from one state to the next, with everything that belongs to it.

-- What may follow what: shared/jobs/job.py has the same table, and a test compares them.
local NEXT = {
  queued = {running = true, failed = true, canceled = true},
  running = {queued = true, succeeded = true, failed = true, canceled = true},
  succeeded = {},
  failed = {queued = true},
  canceled = {queued = true},
}

-- The record of a job that was taken at `at`, queued, with the indexes that do not depend on its state.
local function record_job(job, at, spec, start_before, deadline_s, ttl_s)
  local record, wait = key('job', job.id), tonumber(deadline_s)
  if start_before ~= '' then
    wait = math.min(wait, tonumber(start_before))
    redis.call('HSET', record, 'start_before', start_before)
  end
  job.since, job.status = text(at), 'queued'
  redis.call('HSET', record, 'tenant', job.tenant, 'status', job.status, 'model', job.model,
    'priority', job.priority, 'created_at', job.since, 'version', 1,
    'deadline', text(at + wait), 'ttl_s', ttl_s)
  redis.call('SET', record .. ':spec', spec)
  redis.call('ZADD', key('deadlines'), text(at + wait), job.id)
  redis.call('ZADD', key('tenant', job.tenant, 'jobs'), job.since, job.id)
end

-- Out of the indexes of the old state, into the new one. Refused before anything is written.
local function move(job, to)
  if not NEXT[job.status][to] then
    error('a job cannot go from ' .. job.status .. ' to ' .. to)
  end
  local record = key('job', job.id)
  if job.status == 'queued' then
    dequeue(job)
  elseif job.status == 'running' then
    redis.call('ZREM', key('leases'), job.id)
    redis.call('HDEL', record, 'token', 'worker', 'progress')
  else
    redis.call('ZREM', key('expiry'), job.id)
  end
  redis.call('HSET', record, 'status', to)
  redis.call('HINCRBY', record, 'version', 1)
  job.status = to
end

-- The terminal state with all that belongs to it: outcome, expiry, what was used, event and delivery.
-- `faces`: how many were restored.
local function settle(job, status, outcome, faces)
  local at = now()
  move(job, status)
  local expires = text(at + tonumber(job.ttl_s))
  local record = key('job', job.id)
  redis.call('SET', record .. ':outcome', outcome)
  redis.call('HSET', record, 'finished_at', text(at), 'expires_at', expires)
  redis.call('HDEL', record, 'cancel', 'deadline', 'starts', 'retry',
    'spent_transient', 'spent_drain', 'spent_lost', 'spent_crash')
  redis.call('ZREM', key('deadlines'), job.id)
  redis.call('ZADD', key('expiry'), expires, job.id)
  local spec = spec_of(job)
  count_use(spec.key_id, {[status] = 1, faces = faces or 0})
  post(job, spec.webhook, status, at)
end

local function fail(job, problem)
  settle(job, 'failed', '{"error":' .. problem .. '}')
end

-- A run ended without an outcome: back into the queue on this reason's budget, or failed with
-- `problem` when that is spent, and with `exhausted` when the number of starts is. A drain gives its
-- start back.
local function requeue(job, reason, budget, max_starts, delay, problem, exhausted)
  if job.cancel then
    settle(job, 'canceled', '{}')
    return job.status
  end
  local record = key('job', job.id)
  if reason == 'drain' then
    job.starts = job.starts - 1
    redis.call('HSET', record, 'starts', job.starts)
  end
  if redis.call('HINCRBY', record, 'spent_' .. reason, 1) > tonumber(budget) then
    fail(job, problem)
  elseif job.starts >= tonumber(max_starts) then
    fail(job, exhausted)
  else
    move(job, 'queued')
    enqueue(job, tonumber(delay), 0)
  end
  return job.status
end

