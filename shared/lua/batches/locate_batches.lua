-- Reads what the records say about some batches.
--
-- Arguments:
--   ids: texts
-- Returns: a value of shared.batches.batch.BatchState for each id
local found = {}
for i, id in ipairs(ids) do
  local has = redis.call('HMGET', key('batch', id), 'total', 'rejected', 'created', 'finished_at')
  if not has[1] then
    found[i] = redis.call('EXISTS', key('gone', id)) == 1 and 'erased' or 'unknown'
  elseif has[4] then
    found[i] = 'ended'
  else
    local complete = tonumber(has[3]) >= tonumber(has[1]) - tonumber(has[2])
    found[i] = complete and 'open' or 'incomplete'
  end
end
return found
