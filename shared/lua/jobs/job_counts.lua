-- Counts queued, running and finished jobs and pending deliveries, all at one moment.
--
-- Arguments: none
-- Returns: pairs of a name and a number; JobStore.counts lists the names
local counts, queued = {}, 0
for _, name in ipairs(redis.call('SMEMBERS', key('queues'))) do
  local size = redis.call('ZCARD', key('queue', name))
  local priority, model = string.match(name, '^(%a+):(.*)$')
  counts[#counts + 1] = {'queued.' .. model .. '.' .. priority, size}
  queued = queued + size
end
counts[#counts + 1] = {'queued', queued}
counts[#counts + 1] = {'running', redis.call('ZCARD', key('leases'))}
counts[#counts + 1] = {'kept', redis.call('ZCARD', key('expiry')) + redis.call('ZCARD', key('expiring'))}
local pending = 0
for _, name in ipairs(redis.call('ZRANGE', key('deliveries'), 0, -1)) do
  pending = pending + redis.call('ZCARD', key('lane', name))
end
counts[#counts + 1] = {'deliveries_pending', pending}
return counts
