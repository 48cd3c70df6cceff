-- Removes a job: its record, its place in every index, and its deliveries. A tombstone prevents that a
-- late writer restores it. A worker that runs the job is fenced from now on.
--
-- Arguments:
--   id: text
--   tenant: text
--   tombstone_s: text    seconds for which the id stays blocked
--   expired: flag        only if claim_expired returned it; its deliveries that are not delivered yet
--                        stay
-- Returns: the state that the job had; false if there is no such job
local job = load_job(id)
if not job or job.tenant ~= tenant then return false end
if expired and not redis.call('ZSCORE', key('expiring'), id) then return false end
if job.status == 'queued' then dequeue(job) end
if job.content then forget_equal_job(job) end
if job.token then redis.call('DEL', key('claim', job.token)) end
for _, index in ipairs({'leases', 'deadlines', 'expiry', 'expiring'}) do
  redis.call('ZREM', key(index), id)
end
redis.call('ZREM', key('tenant', tenant, 'jobs'), id)
if expired then copy_job_to_deliveries(id) end
for _, delivery in ipairs(redis.call('LRANGE', key('job', id, 'deliveries'), 0, -1)) do
  local state = redis.call('HGET', key('delivery', delivery), 'state')
  if not expired or state == 'delivered' then
    delete_delivery(delivery)
  elseif state == 'dead' then
    expire_delivery(delivery)
  end
end
local record = key('job', id)
redis.call('DEL', record, record .. ':spec', record .. ':outcome', record .. ':deliveries')
redis.call('SET', key('gone', id), '1', 'EX', tombstone_s)
if job.batch and not expired then
  count_in_batch(job, job.status, 'erased')
  settle_batch(job.batch)
end
return job.status
