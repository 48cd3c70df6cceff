-- Deliveries that are due, leased to the caller: if it dies, they come again.
local limit, lease_s, token = unpack(ARGV)
local at, taken = now(), {}
for _, id in ipairs(
  redis.call('ZRANGEBYSCORE', key('deliveries'), '-inf', text(at), 'LIMIT', 0, limit)
) do
  redis.call('ZADD', key('deliveries'), text(at + tonumber(lease_s)), id)
  redis.call('HSET', key('delivery', id), 'token', token)
  taken[#taken + 1] = {id, redis.call('HGETALL', key('delivery', id))}
end
return taken
