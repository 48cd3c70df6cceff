-- Takes crashes back, with the starts that they cost: the worker was at fault. How many jobs had any.
local absolved = 0
for _, id in ipairs(ARGV) do
  local job = load(id)
  if job and job.spent_crash then
    redis.call('HDEL', key('job', id), 'spent_crash')
    redis.call('HSET', key('job', id), 'starts', job.starts - tonumber(job.spent_crash))
    absolved = absolved + 1
  end
end
return absolved
