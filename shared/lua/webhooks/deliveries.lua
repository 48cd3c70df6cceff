-- Lists the deliveries of a job, oldest first.
--
-- Arguments:
--   job_id: text
--   tenant: text
-- Returns: deliveries; false if the tenant has no such job
local job = load_job(job_id)
if not job or job.tenant ~= tenant then return false end
local found = {}
for _, delivery in ipairs(redis.call('LRANGE', key('job', job_id, 'deliveries'), 0, -1)) do
  found[#found + 1] = delivery_view(delivery) or nil
end
return found
