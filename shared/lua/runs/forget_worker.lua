-- Removes the announcement of a worker.
--
-- Arguments:
--   worker: text
-- Returns: nothing
redis.call('ZREM', key('workers'), worker)
redis.call('HDEL', key('workers', 'models'), worker)
