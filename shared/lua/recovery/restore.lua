-- Restores the record of a job from its manifest, with its original creation time. The quota does not
-- apply, because the job was accepted. If a run of it had succeeded, the job ends at once with the outcome
-- of that run.
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
--   age_s: number            seconds since it was created
--   generation: number
--   reservation: text?       key of the idempotency reservation
--   fingerprint: text        digest of the request that made the reservation
--   token: text?             lease token of the run that succeeded
--   outcome: text?           JSON, of the run that succeeded
--   dry_run: flag            only return what would happen
-- Returns: a value of shared.jobs.recovery.RecoveryResult
local job = load_job(id)
if job then
  if job.generation < generation then return 'older' end
  return 'known'
end
if redis.call('EXISTS', key('gone', id)) == 1 then return 'erased' end
-- Another job may have the idempotency key now. A key is remembered for a day. If the two jobs were
-- requested within one day, the client got no response for the first one, and the second one counts. A
-- retry did get a response, so it is restored whatever happened to its key.
local day, other = 86400, nil
if reservation then
  local held = redis.call('HGET', reservation, 'job')
  other = held and held ~= id and load_job(held)
  local apart_s = other and other.created_at - (now() - age_s)
  if other and generation == 1 and apart_s < day then return 'superseded' end
end
local result = outcome and 'succeeded' or 'queued'
if dry_run then return result end

if reservation and not other and age_s < day then
  redis.call('HSET', reservation, 'fingerprint', fingerprint, 'job', id)
  redis.call('HDEL', reservation, 'call')
  redis.call('EXPIRE', reservation, math.ceil(day - age_s))
end
local record = key('job', id)
job = {id = id, tenant = tenant, model = model, priority = priority, pool = pool, kind = kind,
  batch = cjson.decode(spec).batch}
write_job(job, now() - age_s, spec, start_before_s, deadline_s, ttl_s)
if generation > 1 then redis.call('HSET', record, 'generation', generation) end
job = load_job(id)
count_usage(job_spec(job).key_id, {created = 1})
enqueue(job, 0, 0)
if outcome then
  redis.call('HSET', record, 'attempt', 1, 'started_at', timestamp(now()))
  change_state(job, 'running')
  end_job(job, result, outcome)
  redis.call('HSET', record, 'token', token)
end
return result
