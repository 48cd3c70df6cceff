-- Forgets a batch whose jobs and objects are erased.
--
-- Arguments:
--   id: text
-- Returns: nothing
redis.call('ZREM', key('batches', 'erased'), id)
redis.call('DEL', key('erased', id), key('erased', id, 'items'))
