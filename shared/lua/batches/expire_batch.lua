-- Removes the record of a batch that was kept long enough. Its event stays, without results.
--
-- Arguments:
--   id: text
-- Returns: 1; 0 if there is no such batch, or one of its jobs runs again
local record = key('batch', id)
local has = redis.call('HMGET', record, 'tenant', 'generation')
if not redis.call('ZSCORE', key('batches', 'expiry'), id) then return 0 end
redis.call('ZREM', key('batches', 'expiry'), id)
redis.call('ZREM', key('batches', 'finished'), id)
if not has[1] then return 0 end
redis.call('HDEL', record, 'results')
show_in_event(id, has[2])
send_batch_event(id, has[2])
redis.call('ZREM', key('tenant', has[1], 'batches'), id)
redis.call('DEL', record, record .. ':items')
return 1
