-- Cancels a queued job at once; asks a running job to stop.
--
-- Arguments:
--   id: text
--   tenant: text
-- Returns: the view of the job; its state if it has ended; false if the tenant has no such job
local job = load_job(id)
if not job or job.tenant ~= tenant then return false end
if job.status ~= 'queued' and job.status ~= 'running' then return job.status end
cancel_job(job)
return job_view(id)
