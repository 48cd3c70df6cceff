-- Creates a batch: idempotency check, quota, record and items in one step. Its jobs are created afterwards,
-- some in each step (create_batch_jobs.lua).
--
-- Arguments:
--   id: text
--   tenant: text
--   key_id: text
--   token_id: text?       the token that creates the batch, if one does
--   webhook: text?        URL
--   age_s: number         seconds since it was accepted
--   ttl_s: text           seconds for which it is kept after its end
--   max_queued: number    quota: jobs of the tenant that may wait
--   restored: flag        it was accepted before: there is no quota, and its reservation may be lost
--   reservation: text?    key of the idempotency reservation
--   fingerprint: text?    digest of the request that made the reservation
--   erased: text?         ids of jobs that were erased before the record was lost, with a space after each
--   tombstone_s: text     seconds for which these ids stay blocked
--   items: texts          for each item the id of its job, or a problem (JSON)
-- Returns: 'open', 'exists', 'gone', 'full', 'reservation' or 'spent'
local record = key('batch', id)
if redis.call('HGET', record, 'tenant') then return 'exists' end
if redis.call('EXISTS', key('gone', id)) == 1 then return 'gone' end
local jobs = 0
for _, item in ipairs(items) do
  if string.sub(item, 1, 1) ~= '{' then jobs = jobs + 1 end
end
if not restored and redis.call('ZCARD', key('tenant', tenant, 'queued')) + jobs > max_queued then
  return 'full'
end
local day = 86400
if reservation and restored then
  if age_s >= day or redis.call('HEXISTS', reservation, 'job') == 1 then reservation = nil end
elseif reservation then
  local held = redis.call('HMGET', reservation, 'fingerprint', 'job')
  if not held[1] or held[2] or held[1] ~= fingerprint then return 'reservation' end
end
if not spend_jobs(token_id, jobs) then return 'spent' end
if reservation then
  redis.call('HSET', reservation, 'fingerprint', fingerprint, 'job', id)
  redis.call('HDEL', reservation, 'call')
  redis.call('EXPIRE', reservation, math.ceil(day - age_s))
end
local at = timestamp(now() - age_s)
redis.call('HSET', record, 'tenant', tenant, 'key_id', key_id, 'created_at', at, 'generation', 1,
  'total', #items, 'rejected', #items - jobs, 'created', 0, 'queued', 0, 'running', 0, 'succeeded', 0,
  'failed', 0, 'canceled', 0, 'erased', 0, 'ttl_s', ttl_s)
if webhook then redis.call('HSET', record, 'webhook', webhook) end
for job in string.gmatch(erased or '', '%S+') do
  redis.call('SET', key('gone', job), '1', 'EX', tombstone_s)
  redis.call('HINCRBY', record, 'created', 1)
  redis.call('HINCRBY', record, 'erased', 1)
end
redis.call('RPUSH', record .. ':items', unpack(items))
redis.call('ZADD', key('tenant', tenant, 'batches'), at, id)
settle_batch(id)  -- if every item was rejected or erased
return 'open'
