-- Sends an event again, as the same event with all its tries, even to a disabled endpoint: one try
-- tells whether it is well again. What is on its way this moment stays as it is.
local id, tenant = unpack(ARGV)
local record = key('delivery', id)
local has = redis.call('HMGET', record, 'tenant', 'url', 'state', 'token')
if has[1] ~= tenant then return false end
if has[3] ~= 'pending' or not has[4] then
  redis.call('HSET', record, 'state', 'pending', 'tries', 0, 'probe', 1)
  for _, part in ipairs({record, record .. ':log', record .. ':job'}) do
    redis.call('PERSIST', part)
  end
  redis.call('ZREM', key('tenant', tenant, 'dead'), id)
  deliver_at(id, tenant, has[2], now())
end
return letter(id)
