-- Restores an API key from its backup, unless it exists. A key that was revoked is revoked again.
--
-- Arguments:
--   id: text
--   created_at: text
--   revoked: text?
--   fields: texts       names and values in turn
-- Returns: 1 if the key was restored, 0 if it existed
local record = key('key', id)
if redis.call('EXISTS', record) == 1 then
  if revoked then redis.call('HSET', record, 'revoked', revoked) end
  return 0
end
redis.call('HSET', record, unpack(fields))
redis.call('ZADD', key('keys'), created_at, id)
return 1
