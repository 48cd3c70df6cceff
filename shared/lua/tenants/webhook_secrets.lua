-- Reads the seeds of a tenant's valid webhook secrets. Creates the first seed. With `rotate` it adds a new
-- one; the others stay valid for a while.
--
-- Arguments:
--   tenant: text
--   fresh: text          a seed, in case one is needed
--   rotate: flag
--   overlap_s: number    seconds for which the old secrets stay valid
-- Returns: seeds, newest first; the newest one has no end
local secrets, at = key('tenant', tenant, 'webhook-secrets'), now()
redis.call('ZREMRANGEBYSCORE', secrets, '-inf', timestamp(at))
local newest = redis.call('ZRANGEBYSCORE', secrets, '+inf', '+inf')
if rotate or #newest == 0 then
  for _, old in ipairs(newest) do
    redis.call('ZADD', secrets, timestamp(at + overlap_s), old)
  end
  redis.call('ZADD', secrets, '+inf', fresh)
  redis.call('ZREMRANGEBYRANK', secrets, 0, -5)  -- each one adds a signature to every webhook
end
return redis.call('ZREVRANGEBYSCORE', secrets, '+inf', timestamp(at))
