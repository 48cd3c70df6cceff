-- Queues a failed or canceled job once more, as if it were new.
--
-- Arguments:
--   id: text
--   tenant: text
--   deadline_s: number      seconds in which it must end
--   max_queued: number      quota: jobs of the tenant that may wait
--   max_age_s: number       quota: how long one of them may have waited; 0: no limit
--   pool: text?             in which it waits now; none: the default pool
--   call: text              names this call, so that it can be repeated
--   generation: number?     the generation that the caller expects
--   token_id: text?         the token that retries the job, if one does
--   message: text?          Celery message that rings
--   max_doorbells: number   doorbells that a queue may hold
-- Returns: the view of the job; 'full'; 'spent'; why it cannot run again: its state, 'retried' or 'expired'; false
--   if the tenant has no such job
local job = load_job(id)
if not job or job.tenant ~= tenant then return false end
if job.retry == call then return job_view(id) end  -- the response was lost
if generation and job.generation ~= generation then return 'retried' end
if not NEXT_STATES[job.status].queued or job.status == 'running' then return job.status end
-- The objects of an expired job may be deleted at this moment.
local expires = redis.call('ZSCORE', key('expiry'), id)
if not expires or tonumber(expires) <= now() then return 'expired' end
job.pool = pool
if over_quota(job, max_queued, max_age_s) then return 'full' end
if not spend_jobs(token_id, 1) then return 'spent' end

local record, at = key('job', id), now()
local deadline = timestamp(at + math.min(deadline_s, tonumber(job.start_before or deadline_s)))
local outcome = cjson.decode(redis.call('GET', record .. ':outcome') or '{}')
copy_job_to_deliveries(id)
change_state(job, 'queued')
redis.call('DEL', record .. ':outcome')
redis.call('HDEL', record, 'attempt', 'token', 'started_at', 'finished_at', 'expires_at', 'pool')
if pool then redis.call('HSET', record, 'pool', pool) end
redis.call('HSET', record, 'generation', job.generation + 1, 'retried_at', timestamp(at),
  'deadline', deadline, 'retry', call)
if outcome.error and outcome.error.code == 'poisoned' then
  redis.call('HSET', record, 'spent_crash', 1)  -- it runs alone, and the next crash fails it again
end
redis.call('ZADD', key('deadlines'), deadline, id)
job.since = timestamp(at)
enqueue(job, 0, 1)
ring(job, message, max_doorbells)
return job_view(id)
