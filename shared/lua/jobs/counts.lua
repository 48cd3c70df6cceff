-- What waits and what runs, read at one moment.
local counts, queued = {}, 0
for _, name in ipairs(redis.call('SMEMBERS', key('queues'))) do
  local size = redis.call('ZCARD', key('queue', name))
  local priority, model = string.match(name, '^(%a+):(.*)$')
  counts[#counts + 1] = {'queued.' .. model .. '.' .. priority, size}
  queued = queued + size
end
counts[#counts + 1] = {'queued', queued}
counts[#counts + 1] = {'running', redis.call('ZCARD', key('leases'))}
counts[#counts + 1] = {'kept', redis.call('ZCARD', key('expiry'))}
local pending = 0
for _, name in ipairs(redis.call('ZRANGE', key('deliveries'), 0, -1)) do
  pending = pending + redis.call('ZCARD', key('lane', name))
end
counts[#counts + 1] = {'deliveries_pending', pending}
return counts
