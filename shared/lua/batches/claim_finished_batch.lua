-- Claims a batch that has ended and whose results are not stored yet: no other call finds it for `claim_s`
-- seconds. After that, the caller counts as dead.
--
-- Arguments:
--   claim_s: number
-- Returns: the id and the fields of the batch (HGETALL); false if there is none
local finished, at = key('batches', 'finished'), now()
while true do
  local id = redis.call('ZRANGEBYSCORE', finished, '-inf', timestamp(at), 'LIMIT', 0, 1)[1]
  if not id then return false end
  if redis.call('EXISTS', key('batch', id)) == 1 then
    redis.call('ZADD', finished, timestamp(at + claim_s), id)
    return {id, redis.call('HGETALL', key('batch', id))}
  end
  redis.call('ZREM', finished, id)
end
