-- Finds finished jobs that were kept long enough.
--
-- Arguments:
--   limit: number
-- Returns: pairs of an id and a view
local found = {}
for _, id in ipairs(due_ids(key('expiry'), now(), limit)) do
  found[#found + 1] = {id, job_view(id)}
end
return found
