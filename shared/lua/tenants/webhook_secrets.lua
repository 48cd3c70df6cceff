-- What a tenant's valid webhook secrets are derived from, newest first. The newest never ends.
-- Makes the first one; with `rotate` puts a new one before the others.
local tenant, fresh, rotate, overlap_s = unpack(ARGV)
local secrets, at = key('tenant', tenant, 'webhook-secrets'), now()
redis.call('ZREMRANGEBYSCORE', secrets, '-inf', text(at))
local newest = redis.call('ZRANGEBYSCORE', secrets, '+inf', '+inf')
if rotate == '1' or #newest == 0 then
  for _, old in ipairs(newest) do
    redis.call('ZADD', secrets, text(at + tonumber(overlap_s)), old)
  end
  redis.call('ZADD', secrets, '+inf', fresh)
  redis.call('ZREMRANGEBYRANK', secrets, 0, -5)  -- each one is a signature more in every webhook
end
return redis.call('ZREVRANGEBYSCORE', secrets, '+inf', text(at))
