-- Prolongs the lease.
local id, token, lease_s = unpack(ARGV)
local job = owned(id, token)
if not job then return 'fenced' end
redis.call('ZADD', key('leases'), text(now() + tonumber(lease_s)), id)
return job.cancel and 'cancel' or 'go-on'
