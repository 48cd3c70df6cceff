-- Reads what the records say about some jobs, all at one moment.
--
-- Arguments:
--   installation: text    name that this Redis must have: a new, empty Redis would know none of the jobs
--   job_ids: texts
-- Returns: for each job its state ('' without a record), generation, token and whether it was erased;
--   false if Redis has another name
if redis.call('GET', key('installation')) ~= installation then return false end
local found = {}
for i, id in ipairs(job_ids) do
  local values = redis.call('HMGET', key('job', id), 'status', 'generation', 'token')
  local erased = not values[1] and redis.call('EXISTS', key('gone', id)) or 0
  found[i] = {values[1] or '', values[2] or '1', values[3] or '', erased}
end
return found
