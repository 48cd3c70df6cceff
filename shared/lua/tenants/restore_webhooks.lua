-- Restores the seeds of a tenant's webhook secrets from a backup, unless the tenant has some.
--
-- Arguments:
--   tenant: text
--   seeds: texts     times and seeds in turn
-- Returns: nothing
local stored = key('tenant', tenant, 'webhook-secrets')
if redis.call('EXISTS', stored) == 0 then redis.call('ZADD', stored, unpack(seeds)) end
