-- The idempotency check, the quota, the record, its indexes and its doorbell, in one step.
local id, tenant, model, priority, spec = unpack(ARGV, 1, 5)
local start_before, deadline_s, ttl_s, max_queued, max_age_s = unpack(ARGV, 6, 10)
local reservation, fingerprint, key_id, bytes, bell, max_bells = unpack(ARGV, 11, 16)

local record = key('job', id)
local there = redis.call('HGET', record, 'tenant')
if there == tenant and redis.call('GET', record .. ':spec') == spec then
  return redis.call('HGETALL', record)  -- the same call again: its answer was lost
end
if there or redis.call('EXISTS', key('gone', id)) == 1 then return 'exists' end
local job = {id = id, tenant = tenant, model = model, priority = priority}
if too_much(job, tonumber(max_queued), tonumber(max_age_s)) then return 'full' end
if reservation ~= '' then
  local held = redis.call('HMGET', reservation, 'fingerprint', 'job')
  if not held[1] or held[2] then return 'reservation' end
  if fingerprint ~= '' and held[1] ~= fingerprint then return 'reservation' end
  redis.call('HSET', reservation, 'job', id)
  redis.call('HDEL', reservation, 'call')
  redis.call('EXPIRE', reservation, 86400)
end

record_job(job, now(), spec, start_before, deadline_s, ttl_s)
count_use(key_id, {created = 1, input_bytes = tonumber(bytes)})
enqueue(job, 0, 1)
ring_at_once(job, bell, max_bells)
return redis.call('HGETALL', record)
