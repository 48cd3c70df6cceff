-- Cancels a queued job at once; asks a running job to stop.
--
-- Arguments:
--   id: text
--   tenant: text
-- Returns: the view of the job; its state if it has ended; false if the tenant has no such job
local job = load_job(id)
if not job or job.tenant ~= tenant then return false end
if job.status == 'queued' then
  end_job(job, 'canceled', '{}')
elseif job.status == 'running' then
  if not job.cancel then
    redis.call('HSET', key('job', id), 'cancel', '1')
    redis.call('HINCRBY', key('job', id), 'version', 1)
  end
else
  return job.status
end
return job_view(id)
