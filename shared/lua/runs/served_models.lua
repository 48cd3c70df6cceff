-- Lists the models of the workers that announced themselves lately.
--
-- Arguments:
--   silent_s: number    seconds after which a worker is counted as gone
-- Returns: one JSON text for each worker, the latest announcement first
local found = {}
local since = timestamp(now() - silent_s)
for _, worker in ipairs(redis.call('ZREVRANGEBYSCORE', key('workers'), '+inf', '(' .. since)) do
  found[#found + 1] = redis.call('HGET', key('workers', 'models'), worker)
end
return found
