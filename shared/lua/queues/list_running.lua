-- Lists jobs that run now, those whose leases end first at the front.
--
-- Arguments:
--   limit: number    jobs at most
-- Returns: for each job its id, worker, tenant, model, priority, start (text), progress (JSON, or
--   false) and pool (or false)
local found = {}
for _, id in ipairs(redis.call('ZRANGE', key('leases'), 0, limit - 1)) do
  local has = redis.call('HMGET', key('job', id), 'worker', 'tenant', 'model', 'priority', 'started_at',
    'progress', 'pool')
  if has[1] and has[5] then found[#found + 1] = {id, unpack(has)} end
end
return found
