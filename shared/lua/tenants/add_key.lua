-- Writes a new API key.
--
-- Arguments:
--   id: text
--   tenant: text
--   name: text
--   scopes: text
--   digest: text
-- Returns: the time of creation
local at = timestamp(now())
redis.call('HSET', key('key', id), 'tenant', tenant, 'name', name, 'scopes', scopes,
  'digest', digest, 'created_at', at)
redis.call('ZADD', key('keys'), at, id)
return at
