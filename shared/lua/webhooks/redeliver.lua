-- Sends an event again, with the same id and all attempts, even to a disabled endpoint: one attempt shows
-- whether it works again. A delivery that is being sent at this moment does not change.
--
-- Arguments:
--   id: text
--   tenant: text
-- Returns: the delivery; false if the tenant has no such delivery
local record = key('delivery', id)
local has = redis.call('HMGET', record, 'tenant', 'url', 'state', 'token')
if has[1] ~= tenant then return false end
if has[3] ~= 'pending' or not has[4] then
  redis.call('HSET', record, 'state', 'pending', 'tries', 0, 'probe', 1)
  for _, part in ipairs({record, record .. ':log', record .. ':job'}) do
    redis.call('PERSIST', part)
  end
  redis.call('ZREM', key('tenant', tenant, 'dead'), id)
  schedule_delivery(id, tenant, has[2], now())
end
return delivery_view(id)
