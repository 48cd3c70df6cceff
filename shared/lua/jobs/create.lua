-- Creates a job: idempotency check, quota, record, indexes and doorbell in one step.
--
-- Arguments:
--   id: text
--   tenant: text
--   model: text
--   priority: text
--   pool: text?              none: the default pool
--   kind: text               a value of shared.jobs.job.Kind
--   spec: text               JSON (NewJob.spec)
--   start_before_s: text?    seconds in which it must start
--   deadline_s: text         seconds in which it must end
--   ttl_s: text              seconds for which it is kept after its end
--   max_queued: number       quota: jobs of the tenant that may wait
--   max_age_s: number        quota: how long one of them may have waited; 0: no limit
--   reservation: text?       key of the idempotency reservation
--   fingerprint: text?       digest of the request that made the reservation
--   key_id: text             the API key, for the usage
--   token_id: text?          the token that creates the job, if one does
--   input_bytes: number
--   message: text?           Celery message that rings
--   max_doorbells: number    doorbells that a queue may hold
-- Returns: the fields of the new record; or why there is none: 'exists', 'full', 'reservation', 'spent'
local record = key('job', id)
local owner = redis.call('HGET', record, 'tenant')
if owner == tenant and redis.call('GET', record .. ':spec') == spec then
  return redis.call('HGETALL', record)  -- the same call again: its response was lost
end
if owner or redis.call('EXISTS', key('gone', id)) == 1 then return 'exists' end
local job = {id = id, tenant = tenant, model = model, priority = priority, pool = pool, kind = kind}
if over_quota(job, max_queued, max_age_s) then return 'full' end
if reservation then
  local held = redis.call('HMGET', reservation, 'fingerprint', 'job')
  if not held[1] or held[2] then return 'reservation' end
  if fingerprint and held[1] ~= fingerprint then return 'reservation' end
end
if not spend_jobs(token_id, 1) then return 'spent' end
if reservation then
  redis.call('HSET', reservation, 'job', id)
  redis.call('HDEL', reservation, 'call')
  redis.call('EXPIRE', reservation, 86400)
end

write_job(job, now(), spec, start_before_s, deadline_s, ttl_s)
count_usage(key_id, {created = 1, input_bytes = input_bytes})
enqueue(job, 0, 1)
ring(job, message, max_doorbells)
return redis.call('HGETALL', record)
