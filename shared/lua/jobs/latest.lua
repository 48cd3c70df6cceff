-- Lists jobs of all tenants in one state, for operators: those that wait or run longest, or ended last.
--
-- Arguments:
--   status: text
--   limit: number    jobs at most
--   scan: number     ended jobs that are read at most
-- Returns: pairs of an id and a view
local found = {}

local function add(id)
  if #found < limit and redis.call('HGET', key('job', id), 'status') == status then
    found[#found + 1] = {id, job_view(id)}
  end
end

if status == 'queued' then
  for _, name in ipairs(redis.call('SMEMBERS', key('queues'))) do
    for _, id in ipairs(redis.call('ZRANGE', key('queue', name), 0, limit - 1)) do add(id) end
  end
elseif status == 'running' then
  for _, id in ipairs(redis.call('ZRANGE', key('leases'), 0, limit - 1)) do add(id) end
else
  for _, id in ipairs(redis.call('ZREVRANGE', key('expiry'), 0, scan - 1)) do add(id) end
end
return found
