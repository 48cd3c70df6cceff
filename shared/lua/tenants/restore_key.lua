-- Brings an API key back from its copy, unless it is there; revoked is for ever.
local id, created_at, revoked = ARGV[1], ARGV[2], ARGV[3]
local record = key('key', id)
if redis.call('EXISTS', record) == 1 then
  if revoked ~= '' then redis.call('HSET', record, 'revoked', revoked) end
  return 0
end
redis.call('HSET', record, unpack(ARGV, 4))
redis.call('ZADD', key('keys'), created_at, id)
return 1
