-- A worker says which models it serves; forgets the workers that fell silent.
local worker, models, silent_s = unpack(ARGV)
local at = now()
redis.call('ZADD', key('workers'), text(at), worker)
redis.call('HSET', key('workers', 'models'), worker, models)
local silent = redis.call('ZRANGEBYSCORE', key('workers'), '-inf', text(at - tonumber(silent_s)))
for _, gone in ipairs(silent) do
  redis.call('ZREM', key('workers'), gone)
  redis.call('HDEL', key('workers', 'models'), gone)
end
