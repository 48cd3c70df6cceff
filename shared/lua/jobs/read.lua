-- Reads one job and, while it is queued, how many jobs start before it.
--
-- Arguments:
--   id: text
-- Returns: a view; then, of a queued job, the jobs ahead, and how many jobs of its model and pool have
--   succeeded with how many restored faces in how many milliseconds (text, or false), and whether its queue is paused
--   (1 or false); false if there is no such job
local job = load_job(id)
if not job then return false end
if job.status ~= 'queued' then return {job_view(id)} end
local sums = redis.call('HMGET', key('work', in_pool(job.model, job.pool)), 'jobs', 'faces', 'busy_ms')
return {job_view(id), jobs_ahead(job), sums[1], sums[2], sums[3],
  is_paused(queue_of(job)) and 1}
