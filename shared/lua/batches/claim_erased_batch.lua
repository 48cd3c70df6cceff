-- Claims a batch that was erased and whose jobs and objects may still exist: no other call finds it for
-- `claim_s` seconds.
--
-- Arguments:
--   claim_s: number
-- Returns: the id, the tenant and the items; false if there is none
local erased, at = key('batches', 'erased'), now()
local id = redis.call('ZRANGEBYSCORE', erased, '-inf', timestamp(at), 'LIMIT', 0, 1)[1]
if not id then return false end
redis.call('ZADD', erased, timestamp(at + claim_s), id)
local items = redis.call('LRANGE', key('erased', id, 'items'), 0, -1)
return {id, redis.call('HGET', key('erased', id), 'tenant'), items}
