-- Removes the record of a batch in any state, with its events. Its items are kept until a notifier has erased
-- them (claim_erased_batch.lua). A tombstone prevents that a late writer restores it.
--
-- Arguments:
--   id: text
--   tenant: text
--   tombstone_s: text    seconds for which the id stays blocked
-- Returns: the ids of its jobs; false if the tenant has no such batch
local record = key('batch', id)
local has = redis.call('HMGET', record, 'tenant', 'generation')
if has[1] ~= tenant then return false end
for generation = 1, tonumber(has[2]) do
  delete_delivery(batch_delivery(id, generation))
end
for _, index in ipairs({'finished', 'expiry'}) do redis.call('ZREM', key('batches', index), id) end
redis.call('ZREM', key('tenant', tenant, 'batches'), id)
redis.call('DEL', record)
redis.call('HSET', key('erased', id), 'tenant', tenant)
redis.call('RENAME', record .. ':items', key('erased', id, 'items'))
redis.call('ZADD', key('batches', 'erased'), timestamp(now()), id)
redis.call('SET', key('gone', id), '1', 'EX', tombstone_s)
return redis.call('LRANGE', key('erased', id, 'items'), 0, -1)
