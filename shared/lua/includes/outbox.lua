-- Common to the scripts: deliveries, and the events that make them.

-- The event of a start or an end. Its id follows from job, generation and kind: however often something
-- is repeated, receivers see one id. In the shape of a UUIDv7, as all our ids.
local function event_id(job, kind)
  local digest = redis.sha1hex(job.id .. ' ' .. job.generation .. ' ' .. kind)
  return 'evt_' .. string.sub(job.id, -32, -21) .. '7' .. string.sub(digest, 1, 3)
    .. '8' .. string.sub(digest, 4, 18)
end

-- Deliveries wait in lanes, one for each receiver (a tenant's scheme, host and port): a flood for one
-- holds up no other. `deliveries` has the lanes by when something in them may be due: never too late.
local function lane(tenant, url)
  local origin = string.match(url, '^[^/]*//[^/?#]*') or url
  return redis.sha1hex(tenant .. ' ' .. string.lower(origin))
end

local function deliver_at(delivery, tenant, url, due)
  local name = lane(tenant, url)
  redis.call('ZADD', key('lane', name), text(due), delivery)
  redis.call('ZADD', key('deliveries'), 'LT', text(due), name)
end

local function new_delivery(delivery, event, tenant, url, at, ...)
  redis.call('HSET', key('delivery', delivery), 'event', event, 'tenant', tenant, 'url', url,
    'state', 'pending', 'tries', 0, 'created_at', text(at), ...)
  deliver_at(delivery, tenant, url, at)
end

local function forget_delivery(delivery)
  local record = key('delivery', delivery)
  local of = redis.call('HMGET', record, 'tenant', 'url')
  if not of[1] then return end
  local name = lane(of[1], of[2])
  redis.call('ZREM', key('lane', name), delivery)
  if redis.call('EXISTS', key('lane', name)) == 0 then redis.call('ZREM', key('deliveries'), name) end
  redis.call('ZREM', key('tenant', of[1], 'dead'), delivery)
  redis.call('DEL', record, record .. ':log', record .. ':job')
end

-- Deliveries tell of the job as it is when they are sent. Before it starts again, or goes, they take
-- a copy: without the result, which ends with the job.
local function freeze_deliveries(job_id)
  local deliveries = redis.call('LRANGE', key('job', job_id, 'deliveries'), 0, -1)
  if #deliveries == 0 then return end
  local seen = view(job_id)
  if seen[3] then
    local outcome = cjson.decode(seen[3])
    outcome.result = nil
    seen[3] = cjson.encode(outcome)
  end
  for _, delivery in ipairs(deliveries) do
    redis.call('SET', key('delivery', delivery, 'job'), cjson.encode(seen), 'NX')
  end
end

-- What became of deliveries that have no job any more is kept for a week.
local function let_expire(delivery)
  local record = key('delivery', delivery)
  for _, part in ipairs({record, record .. ':log', record .. ':job'}) do
    redis.call('EXPIRE', part, 604800)
  end
end

-- A tenant has 10,000 dead letters at most: the oldest make room.
local function bury(delivery, tenant, at)
  local dead = key('tenant', tenant, 'dead')
  redis.call('ZADD', dead, text(at), delivery)
  if redis.call('ZCARD', dead) > 10000 then
    forget_delivery(redis.call('ZPOPMIN', dead)[1])
  end
  redis.call('ZREMRANGEBYSCORE', dead, '-inf', text(at - 3456000))  -- longer than a job and a week
end

-- How an address has done since it last took a webhook. Nothing, if all is well.
local function endpoint(tenant, url)
  return key('tenant', tenant, 'endpoint', redis.sha1hex(url))
end

-- A delivery whole: fields, log, when it is due, what its endpoint suffers from. False: there is none.
local function letter(delivery)
  local record = key('delivery', delivery)
  local of = redis.call('HMGET', record, 'tenant', 'url')
  if not of[1] then return false end
  return {
    delivery,
    redis.call('HGETALL', record),
    redis.call('LRANGE', record .. ':log', 0, -1),
    redis.call('ZSCORE', key('lane', lane(of[1], of[2])), delivery),
    redis.call('HMGET', endpoint(of[1], of[2]), 'disabled_at', 'disabled_for'),
  }
end

-- `kind`: started, or the terminal state.
local function post(job, webhook, kind, at)
  if webhook == cjson.null then return end
  local event = 'restoration.' .. kind
  for _, wanted in ipairs(webhook.events) do
    if wanted == event then
      local id = event_id(job, kind)
      local delivery = 'dlv_' .. string.sub(id, 5)
      new_delivery(delivery, event, job.tenant, webhook.url, at, 'event_id', id, 'job_id', job.id)
      redis.call('RPUSH', key('job', job.id, 'deliveries'), delivery)
      return
    end
  end
end

