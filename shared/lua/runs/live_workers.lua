-- Lists the workers that announced themselves lately.
--
-- Arguments:
--   silent_s: number    seconds after which a worker is counted as gone
-- Returns: names, the latest announcement first
remove_silent_workers(silent_s)
return redis.call('ZREVRANGE', key('workers'), 0, -1)
