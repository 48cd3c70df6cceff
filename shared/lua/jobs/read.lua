-- Reads one job and, while it is queued, how many jobs start before it.
--
-- Arguments:
--   id: text
-- Returns: a view; then, of a queued job, the jobs ahead, and how many jobs of its model have succeeded
--   with how many restored faces (text, or false); false if there is no such job
local job = load_job(id)
if not job then return false end
if job.status ~= 'queued' then return {job_view(id)} end
local mean = redis.call('HMGET', key('faces', job.model), 'jobs', 'faces')
return {job_view(id), jobs_ahead(job), mean[1], mean[2]}
