-- The idempotency check, the quota, the record and its indexes, in one step.
local id, tenant, model, priority, spec, webhook = unpack(ARGV, 1, 6)
local start_before, deadline_s, ttl_s, max_queued = unpack(ARGV, 7, 10)
local reservation, fingerprint = ARGV[11], ARGV[12]

local record = key('job', id)
local there = redis.call('HMGET', record, 'tenant', 'spec')
if there[1] == tenant and there[2] == spec then  -- the same call again: its answer was lost
  return redis.call('HGETALL', record)
end
if there[1] or redis.call('EXISTS', key('gone', id)) == 1 then return 'exists' end
if redis.call('ZCARD', key('tenant', tenant, 'queued')) >= tonumber(max_queued) then
  return 'full'
end
if reservation ~= '' then
  local held = redis.call('HMGET', reservation, 'fingerprint', 'job')
  if not held[1] or held[2] then return 'reservation' end
  if fingerprint ~= '' and held[1] ~= fingerprint then return 'reservation' end
  redis.call('HSET', reservation, 'job', id)
  redis.call('HDEL', reservation, 'call')
  redis.call('EXPIRE', reservation, 86400)
end

local at = now()
local wait = tonumber(deadline_s)
if start_before ~= '' then wait = math.min(wait, tonumber(start_before)) end
local job = {
  id = id, tenant = tenant, model = model, priority = priority, created_at = text(at),
}
redis.call('HSET', record, 'tenant', tenant, 'status', 'queued', 'model', model,
  'priority', priority, 'spec', spec, 'created_at', job.created_at, 'version', 1,
  'deadline', text(at + wait), 'ttl_s', ttl_s)
if webhook ~= '' then redis.call('HSET', record, 'webhook', webhook) end
enqueue(job, at + 1)  -- who creates a job rings at once; the dispatcher covers for them
redis.call('ZADD', key('deadlines'), text(at + wait), id)
redis.call('ZADD', key('tenant', tenant, 'jobs'), job.created_at, id)
return redis.call('HGETALL', record)
