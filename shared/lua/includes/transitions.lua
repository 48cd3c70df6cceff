-- Functions that the scripts share: transitions from one state to the next, with all that belongs to them.

-- Which state may follow which. shared/jobs/job.py has the same table, and a test compares the two.
local NEXT_STATES = {
  queued = {running = true, failed = true, canceled = true},
  running = {queued = true, succeeded = true, failed = true, canceled = true},
  succeeded = {},
  failed = {queued = true},
  canceled = {queued = true},
}

-- Writes the record of a queued job that was accepted at `at`, and the indexes that do not depend on its
-- state. Only restorations are in the list of a tenant's jobs.
local function write_job(job, at, spec, start_before_s, deadline_s, ttl_s)
  local record, wait = key('job', job.id), tonumber(deadline_s)
  if start_before_s then
    wait = math.min(wait, tonumber(start_before_s))
    redis.call('HSET', record, 'start_before', start_before_s)
  end
  job.since, job.status = timestamp(at), 'queued'
  redis.call('HSET', record, 'tenant', job.tenant, 'status', job.status, 'model', job.model,
    'priority', job.priority, 'created_at', job.since, 'version', 1,
    'deadline', timestamp(at + wait), 'ttl_s', ttl_s)
  redis.call('SET', record .. ':spec', spec)
  if job.pool then redis.call('HSET', record, 'pool', job.pool) end
  if job.batch then redis.call('HSET', record, 'batch', job.batch) end
  count_in_batch(job, nil, 'queued')
  redis.call('ZADD', key('deadlines'), timestamp(at + wait), job.id)
  if (job.kind or 'restoration') == 'restoration' then
    redis.call('ZADD', key('tenant', job.tenant, 'jobs'), job.since, job.id)
  else
    redis.call('HSET', record, 'kind', job.kind)
  end
end

-- Moves a job from the indexes of its state to the next state. Raises an error, before it writes anything,
-- if that state may not follow.
local function change_state(job, to)
  if not NEXT_STATES[job.status][to] then
    error('a job cannot go from ' .. job.status .. ' to ' .. to)
  end
  local record = key('job', job.id)
  if job.status == 'queued' then
    dequeue(job)
    if job.content then stop_waiting(job, to) end
  elseif job.status == 'running' then
    redis.call('ZREM', key('leases'), job.id)
    redis.call('HDEL', record, 'token', 'worker', 'content')
    if job.content then leave_equal_jobs(job, to) end
  else
    redis.call('ZREM', key('expiry'), job.id)
    if job.batch then reopen_batch(job.batch) end
  end
  count_in_batch(job, job.status, to)
  -- A job that failed or was canceled shows how far it came.
  if to ~= 'failed' and to ~= 'canceled' then redis.call('HDEL', record, 'progress') end
  redis.call('HSET', record, 'status', to)
  redis.call('HINCRBY', record, 'version', 1)
  job.status = to
end

-- Ends a job: state, outcome, expiry, usage, event and delivery. `work`: the number of restored faces and
-- the milliseconds in a place of a device; nil if they are not known, or an equal job did the work.
local function end_job(job, status, outcome, work)
  local at = now()
  change_state(job, status)
  local expires = timestamp(at + tonumber(job.ttl_s))
  local record = key('job', job.id)
  redis.call('SET', record .. ':outcome', outcome)
  redis.call('HSET', record, 'finished_at', timestamp(at), 'expires_at', expires)
  redis.call('HDEL', record, 'cancel', 'deadline', 'starts', 'retry', 'waited',
    'spent_transient', 'spent_drain', 'spent_lost', 'spent_crash', 'spent_input')
  redis.call('ZREM', key('deadlines'), job.id)
  redis.call('ZADD', key('expiry'), expires, job.id)
  if job.content and status == 'succeeded' then share_result(job) end
  local spec = job_spec(job)
  count_usage(spec.key_id, {[status] = 1, faces = work and work.faces or 0})
  if work and status == 'succeeded' then count_work(job, work) end
  deliver_event(job, spec.webhook, status, at)
  if job.batch then settle_batch(job.batch) end
end

-- Cancels a queued job at once; asks a running job to stop.
local function cancel_job(job)
  if job.status == 'queued' then
    end_job(job, 'canceled', '{}')
  elseif not job.cancel then
    redis.call('HSET', key('job', job.id), 'cancel', '1')
    redis.call('HINCRBY', key('job', job.id), 'version', 1)
  end
end

local function fail_job(job, problem)
  end_job(job, 'failed', '{"error":' .. problem .. '}')
end

-- Fails a job that is past its deadline: with `never_started` if it did not run since it was created or
-- retried, else with `too_late`.
local function fail_late_job(job, too_late, never_started)
  fail_job(job, job.attempt == 0 and never_started or too_late)
end

-- Returns a job whose run ended without an outcome to its queue, and returns its new state. The job fails
-- with `problem` if the budget of this reason is used up, and with `exhausted` if its starts are. It is
-- canceled if that was requested. A drain takes its start back.
local function requeue(job, reason, budget, max_starts, delay_s, problem, exhausted)
  if job.cancel then
    end_job(job, 'canceled', '{}')
    return job.status
  end
  local record = key('job', job.id)
  if reason == 'drain' then
    job.starts = job.starts - 1
    redis.call('HSET', record, 'starts', job.starts)
  end
  if redis.call('HINCRBY', record, 'spent_' .. reason, 1) > budget then
    fail_job(job, problem)
  elseif job.starts >= max_starts then
    fail_job(job, exhausted)
  else
    change_state(job, 'queued')
    enqueue(job, delay_s, 0)
  end
  return job.status
end

