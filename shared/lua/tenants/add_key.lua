-- Writes a new API key.
local id, tenant, name, scopes, digest = unpack(ARGV)
local at = text(now())
redis.call('HSET', key('key', id), 'tenant', tenant, 'name', name, 'scopes', scopes,
  'digest', digest, 'created_at', at)
redis.call('ZADD', key('keys'), at, id)
return at
