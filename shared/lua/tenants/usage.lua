-- What an API key has used, and how many jobs of its tenant wait.
local tenant, key_id = unpack(ARGV)
return {redis.call('HGETALL', key('usage', key_id)), redis.call('ZCARD', key('tenant', tenant, 'queued'))}
