-- Deliveries that are due, leased to the caller: if it dies, they come again.
local limit, lease_s, token = unpack(ARGV)
local index, at, taken = key('deliveries'), now(), {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', text(at), 'LIMIT', 0, limit)) do
  local record = key('delivery', id)
  if redis.call('EXISTS', record) == 1 then
    redis.call('ZADD', index, text(at + tonumber(lease_s)), id)
    redis.call('HSET', record, 'token', token)
    taken[#taken + 1] = {id, redis.call('HGETALL', record)}
  else
    redis.call('ZREM', index, id)
  end
end
return taken
