-- Lists the workers that announced themselves lately.
--
-- Arguments:
--   silent_s: number    seconds after which a worker is counted as gone
-- Returns: names, the latest announcement first
local since = '(' .. timestamp(now() - silent_s)
return redis.call('ZREVRANGEBYSCORE', key('workers'), '+inf', since)
