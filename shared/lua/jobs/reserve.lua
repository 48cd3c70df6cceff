-- Takes an idempotency key for a short while, or tells what it already stands for. It is not taken for
-- a job that would be refused; without a tenant nobody knows yet what the job will be.
local reservation, fingerprint, hold_s, call = unpack(ARGV, 1, 4)
local tenant, model, priority, max_queued, max_age_s = unpack(ARGV, 5, 9)
local held = redis.call('HMGET', reservation, 'fingerprint', 'job', 'call')
if not held[1] then
  local job = {tenant = tenant, model = model, priority = priority}
  if tenant and too_much(job, tonumber(max_queued), tonumber(max_age_s)) then return {'full'} end
  redis.call('HSET', reservation, 'fingerprint', fingerprint, 'call', call)
  redis.call('EXPIRE', reservation, hold_s)
  return {'reserved'}
end
if held[3] == call then return {'reserved'} end  -- the answer was lost
if held[1] ~= fingerprint then return {'mismatch'} end
if held[2] then return {'job', held[2]} end
return {'in-progress'}
