-- Takes an idempotency key for a short while, or tells what it already stands for.
local reservation, fingerprint, hold_s = unpack(ARGV)
local held = redis.call('HMGET', reservation, 'fingerprint', 'job')
if not held[1] then
  redis.call('HSET', reservation, 'fingerprint', fingerprint)
  redis.call('EXPIRE', reservation, hold_s)
  return {'reserved'}
end
if held[1] ~= fingerprint then return {'mismatch'} end
if held[2] then return {'job', held[2]} end
return {'in-progress'}
