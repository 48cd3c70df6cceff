-- Reserves an idempotency key for a short time, or returns the job that it stands for. Nothing is reserved
-- for a job that the quota would refuse.
--
-- Arguments:
--   reservation: text     key of the reservation
--   fingerprint: text     digest of the request
--   wait_s: number?       seconds for which the request waits for the end of its job
--   hold_s: text          seconds for which it is reserved
--   call: text            names this call, so that it can be repeated
--   tenant: text?         of the job; none: the quota is not checked
--   model: text?
--   priority: text?
--   pool: text?           none: the default pool
--   max_queued: number    quota: jobs of the tenant that may wait
--   max_age_s: number     quota: how long one of them may have waited; 0: no limit
-- Returns: one of {'reserved'}, {'job', id, wait_s of the first request or ''}, {'mismatch'}, {'in-progress'},
--   {'full'}
local held = redis.call('HMGET', reservation, 'fingerprint', 'job', 'call', 'wait_s')
if not held[1] then
  local job = {tenant = tenant, model = model, priority = priority, pool = pool}
  if tenant and over_quota(job, max_queued, max_age_s) then return {'full'} end
  redis.call('HSET', reservation, 'fingerprint', fingerprint, 'call', call)
  if wait_s then redis.call('HSET', reservation, 'wait_s', wait_s) end
  redis.call('EXPIRE', reservation, hold_s)
  return {'reserved'}
end
if held[3] == call then return {'reserved'} end  -- the response was lost
if held[1] ~= fingerprint then return {'mismatch'} end
if held[2] then return {'job', held[2], held[4] or ''} end
return {'in-progress'}
