-- Finds finished jobs that were kept long enough, and claims them: no other call finds them for
-- `claim_s` seconds. After that, the caller counts as dead, and they are found again.
--
-- Arguments:
--   limit: number
--   claim_s: number
-- Returns: pairs of an id and a view
local at = now()
for _, id in ipairs(due_ids(key('expiring'), at, limit)) do
  redis.call('ZREM', key('expiring'), id)
  redis.call('ZADD', key('expiry'), timestamp(at), id)
end
local found = {}
for _, id in ipairs(due_ids(key('expiry'), at, limit)) do
  redis.call('ZREM', key('expiry'), id)
  redis.call('ZADD', key('expiring'), timestamp(at + claim_s), id)
  found[#found + 1] = {id, job_view(id)}
end
return found
