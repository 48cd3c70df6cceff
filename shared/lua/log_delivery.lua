-- Notes one try and what follows from it: delivered, pending (with a delay) or dead.
local id, token, state, delay_s, entry, kept = unpack(ARGV)
local record = key('delivery', id)
local held = redis.call('HMGET', record, 'token', 'state')
if held[1] ~= token or held[2] ~= 'pending' then return 0 end
redis.call('HINCRBY', record, 'tries', 1)
redis.call('HSET', record, 'state', state)
redis.call('HDEL', record, 'token')
redis.call('RPUSH', record .. ':log', entry)
redis.call('LTRIM', record .. ':log', -tonumber(kept), -1)
if state == 'pending' then
  redis.call('ZADD', key('deliveries'), text(now() + tonumber(delay_s)), id)
else
  redis.call('ZREM', key('deliveries'), id)
end
return 1
