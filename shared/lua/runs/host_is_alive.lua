-- Returns whether a worker on this host announced itself lately.
--
-- Arguments:
--   host: text
--   silent_s: number    seconds after which a worker is counted as gone
-- Returns: 1 or 0
local at = redis.call('ZSCORE', key('workers', 'hosts'), host)
return at and tonumber(at) > now() - silent_s and 1 or 0
