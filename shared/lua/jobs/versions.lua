-- Reads version and status of many jobs.
--
-- Arguments:
--   ids: texts
-- Returns: version and status for each id, one after the other; both false if there is no such job
local found = {}
for _, id in ipairs(ids) do
  local fields = redis.call('HMGET', key('job', id), 'version', 'status')
  found[#found + 1] = fields[1]
  found[#found + 1] = fields[2]
end
return found
