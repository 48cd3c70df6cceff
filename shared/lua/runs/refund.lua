-- Takes back the crashes that were counted against jobs, and the starts that they used: the worker itself
-- was at fault.
--
-- Arguments:
--   job_ids: texts
-- Returns: how many of the jobs had a crash
local refunded = 0
for _, id in ipairs(job_ids) do
  local job = load_job(id)
  if job and job.spent_crash then
    redis.call('HDEL', key('job', id), 'spent_crash')
    redis.call('HSET', key('job', id), 'starts', job.starts - tonumber(job.spent_crash))
    refunded = refunded + 1
  end
end
return refunded
