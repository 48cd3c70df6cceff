-- Lists the queues that are paused.
--
-- Arguments: none
-- Returns: names, each a priority, ':' and a model in a pool
return redis.call('SMEMBERS', key('paused'))
