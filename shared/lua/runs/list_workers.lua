-- Lists the workers that announced themselves lately, with all that they said.
--
-- Arguments:
--   silent_s: number    seconds after which a worker is counted as gone
-- Returns: for each worker its name, its models and its state (JSON, or false), by name
local since = '(' .. timestamp(now() - silent_s)
local names = redis.call('ZRANGEBYSCORE', key('workers'), since, '+inf')
table.sort(names)
local found = {}
for i, name in ipairs(names) do
  found[i] = {name, redis.call('HGET', key('workers', 'models'), name),
    redis.call('HGET', key('workers', 'state'), name)}
end
return found
