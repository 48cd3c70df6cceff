-- Takes an idempotency key for a short while, or tells what it already stands for.
local reservation, fingerprint, hold_s, call = unpack(ARGV)
local held = redis.call('HMGET', reservation, 'fingerprint', 'job', 'call')
if not held[1] then
  redis.call('HSET', reservation, 'fingerprint', fingerprint, 'call', call)
  redis.call('EXPIRE', reservation, hold_s)
  return {'reserved'}
end
if held[3] == call then return {'reserved'} end  -- the answer was lost
if held[1] ~= fingerprint then return {'mismatch'} end
if held[2] then return {'job', held[2]} end
return {'in-progress'}
