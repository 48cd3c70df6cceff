-- Brings back what a tenant's webhook secrets are derived from, unless it has some by now.
local seeds = key('tenant', ARGV[1], 'webhook-secrets')
if redis.call('EXISTS', seeds) == 0 then redis.call('ZADD', seeds, unpack(ARGV, 2)) end
