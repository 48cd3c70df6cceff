-- Reads the usage of an API key, and how many jobs of its tenant wait.
--
-- Arguments:
--   tenant: text
--   key_id: text
-- Returns: the counts (HGETALL) and a number
return {redis.call('HGETALL', key('usage', key_id)), redis.call('ZCARD', key('tenant', tenant, 'queued'))}
