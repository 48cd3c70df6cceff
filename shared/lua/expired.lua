-- Finished jobs whose time to be kept is over.
local found = {}
local at = text(now())
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('expiry'), '-inf', at, 'LIMIT', 0, ARGV[1])) do
  found[#found + 1] = {id, redis.call('HGETALL', key('job', id))}
end
return found
