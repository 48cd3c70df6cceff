-- Writes a short-lived API key under another one, its parent.
--
-- Arguments:
--   id: text
--   parent: text
--   tenant: text
--   name: text
--   scopes: text
--   digest: text
--   jobs: number            jobs that it may create
--   expires_in_s: number
-- Returns: the times of its creation and of its end; false if the parent is revoked
if redis.call('HEXISTS', key('key', parent), 'revoked') == 1 then return false end
local record, at = key('key', id), now()
redis.call('HSET', record, 'parent', parent, 'tenant', tenant, 'name', name, 'scopes', scopes,
  'digest', digest, 'jobs_left', jobs, 'created_at', timestamp(at))
redis.call('EXPIRE', record, expires_in_s)
return {timestamp(at), timestamp(at + expires_in_s)}
