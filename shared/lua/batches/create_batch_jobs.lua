-- Creates some jobs of a batch, unless they exist. The quota does not apply, because the batch was accepted.
--
-- Arguments:
--   batch: text
--   deadline_s: text        seconds in which a job must end
--   ttl_s: text             seconds for which it is kept after its end
--   max_doorbells: number   doorbells that a queue may hold
--   age_s: number           seconds since the batch was accepted
--   used: text              problem, JSON, for an item whose upload another request has used
--   jobs: texts             eight for each job: id, model, priority, spec, start_before_s or '',
--                           input_bytes, Celery message or '', pool or '' (the default pool)
-- Returns: how many jobs were created; false if there is no such batch
local has = redis.call('HMGET', key('batch', batch), 'tenant', 'key_id', 'cancel')
if not has[1] then return false end
local at, created, items = now() - age_s, 0, key('batch', batch, 'items')

-- Rejects an item whose job belongs to another request.
local function reject(id)
  redis.call('LSET', items, redis.call('LPOS', items, id), used)
  redis.call('HINCRBY', key('batch', batch), 'rejected', 1)
end

for i = 1, #jobs, 8 do
  local job = {id = jobs[i], tenant = has[1], model = jobs[i + 1], priority = jobs[i + 2], batch = batch,
    pool = jobs[i + 7] ~= '' and jobs[i + 7]}
  local exists = redis.call('EXISTS', key('job', job.id)) == 1
  if exists and redis.call('HGET', key('job', job.id), 'batch') ~= batch then
    reject(job.id)
  elseif not exists and redis.call('EXISTS', key('gone', job.id)) == 0 then
    local start_before_s = jobs[i + 4] ~= '' and jobs[i + 4] or nil
    -- Later items are later by a microsecond, so that they start in their order.
    write_job(job, at + created / 1000000, jobs[i + 3], start_before_s, deadline_s, ttl_s)
    count_usage(has[2], {created = 1, input_bytes = tonumber(jobs[i + 5])})
    enqueue(job, 0, 1)
    if has[3] then
      end_job(load_job(job.id), 'canceled', '{}')
    elseif jobs[i + 6] ~= '' then
      ring(job, jobs[i + 6], max_doorbells)
    end
    created = created + 1
  end
end
settle_batch(batch)
return created
