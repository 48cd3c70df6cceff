-- Reads one delivery.
--
-- Arguments:
--   id: text
--   tenant: text
-- Returns: the delivery; false if the tenant has no such delivery
if redis.call('HGET', key('delivery', id), 'tenant') ~= tenant then return false end
return delivery_view(id)
