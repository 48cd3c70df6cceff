-- Claims a batch that was kept long enough: no other call finds it for `claim_s` seconds.
--
-- Arguments:
--   claim_s: number
-- Returns: the id and the tenant of the batch; false if there is none
local expiry, at = key('batches', 'expiry'), now()
local id = redis.call('ZRANGEBYSCORE', expiry, '-inf', timestamp(at), 'LIMIT', 0, 1)[1]
if not id then return false end
redis.call('ZADD', expiry, timestamp(at + claim_s), id)
return {id, redis.call('HGET', key('batch', id), 'tenant') or ''}
