-- One delivery of a tenant.
local id, tenant = unpack(ARGV)
if redis.call('HGET', key('delivery', id), 'tenant') ~= tenant then return false end
return letter(id)
