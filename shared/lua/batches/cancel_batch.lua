-- Cancels some jobs of a batch, as jobs/cancel.lua does. Jobs of the batch that are created later are
-- canceled too.
--
-- Arguments:
--   id: text
--   tenant: text
--   start: number    index of the first item
--   limit: number
-- Returns: how many items there are from `start` on; 'ended' if the batch had ended before the first call;
--   false if the tenant has no such batch
local record = key('batch', id)
local has = redis.call('HMGET', record, 'tenant', 'finished_at', 'cancel')
if has[1] ~= tenant then return false end
-- After the first of several calls, all jobs may have been canceled.
if has[2] and (start == 0 or not has[3]) then return 'ended' end
redis.call('HSET', record, 'cancel', '1')
for _, entry in ipairs(redis.call('LRANGE', record .. ':items', start, start + limit - 1)) do
  local job = load_job(entry)
  if job and (job.status == 'queued' or job.status == 'running') then cancel_job(job) end
end
return redis.call('LLEN', record .. ':items') - start
