-- Writes down which models a worker serves, and deletes the workers that fell silent.
--
-- Arguments:
--   worker: text
--   models: text        JSON
--   silent_s: number    seconds after which a worker is counted as gone
-- Returns: nothing
local at = now()
redis.call('ZADD', key('workers'), timestamp(at), worker)
redis.call('HSET', key('workers', 'models'), worker, models)
local silent = redis.call('ZRANGEBYSCORE', key('workers'), '-inf', timestamp(at - silent_s))
for _, gone in ipairs(silent) do
  redis.call('ZREM', key('workers'), gone)
  redis.call('HDEL', key('workers', 'models'), gone)
end
