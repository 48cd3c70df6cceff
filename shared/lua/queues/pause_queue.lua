-- Stops or allows the start of the jobs of a queue. Jobs that run are not touched.
--
-- Arguments:
--   name: text      of the queue: its priority, ':' and its model in its pool
--   paused: flag
-- Returns: nothing
redis.call(paused and 'SADD' or 'SREM', key('paused'), name)
