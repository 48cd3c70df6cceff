-- Lists items of a batch, in their order.
--
-- Arguments:
--   id: text
--   tenant: text
--   start: number    index of the first item
--   limit: number
-- Returns: for each item its entry (the id of its job, or a problem) and the view of the job or false; false
--   if the tenant has no such batch
local record = key('batch', id)
if redis.call('HGET', record, 'tenant') ~= tenant then return false end
local found = {}
for i, entry in ipairs(redis.call('LRANGE', record .. ':items', start, start + limit - 1)) do
  local exists = redis.call('EXISTS', key('job', entry)) == 1
  found[i] = {entry, exists and job_view(entry)}
end
return found
