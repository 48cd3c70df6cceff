-- Reads one job and, while it is queued, its position in the queue (1 is next).
--
-- Arguments:
--   id: text
-- Returns: a view and a position or false; false if there is no such job
local job = load_job(id)
if not job then return false end
local position = false
if job.status == 'queued' then
  position = redis.call('ZRANK', key('queue', queue_of(job)), id) + 1
end
return {job_view(id), position}
