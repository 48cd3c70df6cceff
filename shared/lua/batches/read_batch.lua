-- Reads a batch and, while its jobs wait, how many jobs start before the last of them.
--
-- Arguments:
--   id: text
--   tenant: text
-- Returns: the fields of the batch (HGETALL); then, if one of its last items waits, its model in its pool, the
--   jobs ahead of it, and how many jobs of the two have succeeded with how many restored faces in how many
--   milliseconds (text, or false); false if the tenant has no such batch
local record = key('batch', id)
local has = redis.call('HMGET', record, 'tenant', 'finished_at')
if has[1] ~= tenant then return false end
local fields = redis.call('HGETALL', record)
if has[2] then return {fields} end
local last = redis.call('LRANGE', record .. ':items', -20, -1)
for i = #last, 1, -1 do
  local job = load_job(last[i])
  if job and job.status == 'queued' then
    local model = in_pool(job.model, job.pool)
    local sums = redis.call('HMGET', key('work', model), 'jobs', 'faces', 'busy_ms')
    return {fields, model, jobs_ahead(job), sums[1], sums[2], sums[3]}
  end
end
return {fields}
