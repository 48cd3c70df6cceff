-- Puts some of a tenant's keys, jobs, batches and lanes that wait for it into the lists in which processes
-- find work. Each is put there once, however often this is called: later, its record may have changed.
--
-- Arguments:
--   tenant: text
--   limit: text    how many at most
-- Returns: how many still wait
local waiting = key('tenant', tenant, 'arriving')

local function admit_job(id)
  local job = load_job(id)
  if not job then return end
  if job.status == 'queued' then
    redis.call('ZADD', key('deadlines'), job.deadline, id)
    enqueue(job, 0, 0)
  elseif job.status == 'running' then  -- its worker cannot end it here: the reaper returns it to its queue
    redis.call('ZADD', key('deadlines'), job.deadline, id)
    redis.call('ZADD', key('leases'), timestamp(now()), id)
  else
    redis.call('ZADD', key('expiry'), redis.call('HGET', key('job', id), 'expires_at'), id)
  end
end

local function admit_batch(id)
  local has = redis.call('HMGET', key('batch', id), 'finished_at', 'expires_at', 'results')
  if not has[1] then return end
  redis.call('ZADD', key('batches', 'expiry'), has[2], id)
  if not has[3] then redis.call('ZADD', key('batches', 'finished'), has[1], id) end
end

local function admit_lane(name)
  local first = redis.call('ZRANGE', key('lane', name), 0, 0, 'WITHSCORES')[2]
  if first then redis.call('ZADD', key('deliveries'), 'LT', first, name) end
end

local function admit_key(id)
  local has = redis.call('HMGET', key('key', id), 'created_at', 'parent')
  if has[1] and not has[2] then redis.call('ZADD', key('keys'), has[1], id) end
end

for _, name in ipairs(redis.call('SPOP', waiting, limit)) do
  local kind = string.sub(name, 1, 4)
  if kind == 'lane' then
    admit_lane(string.sub(name, 6))
  elseif kind == 'bat_' then
    admit_batch(name)
  elseif kind == 'key_' then
    admit_key(name)
  else
    admit_job(name)
  end
end
return redis.call('SCARD', waiting)
