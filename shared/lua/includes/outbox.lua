-- Functions that the scripts share: webhook deliveries, and the events for which they are created.

-- Returns the id of an event. It depends only on the job, its generation and the kind of event, so
-- receivers see one id however often a script is repeated. It has the shape of a UUIDv7, like all ids.
local function make_event_id(job, kind)
  local digest = redis.sha1hex(job.id .. ' ' .. job.generation .. ' ' .. kind)
  return 'evt_' .. string.sub(job.id, -32, -21) .. '7' .. string.sub(digest, 1, 3)
    .. '8' .. string.sub(digest, 4, 18)
end

-- Returns the lane of a URL. Deliveries wait in lanes, one for each receiver (a tenant's scheme, host and
-- port), so that many deliveries for one receiver do not delay another receiver's. The index `deliveries`
-- orders the lanes by when one of their deliveries may be due; that time is never too late.
local function lane_of(tenant, url)
  local origin = string.match(url, '^[^/]*//[^/?#]*') or url
  return redis.sha1hex(tenant .. ' ' .. string.lower(origin))
end

local function schedule_delivery(delivery, tenant, url, due)
  local name = lane_of(tenant, url)
  redis.call('ZADD', key('lane', name), timestamp(due), delivery)
  redis.call('ZADD', key('deliveries'), 'LT', timestamp(due), name)
end

local function create_delivery(delivery, event, tenant, url, at, ...)
  redis.call('HSET', key('delivery', delivery), 'event', event, 'tenant', tenant, 'url', url,
    'state', 'pending', 'tries', 0, 'created_at', timestamp(at), ...)
  schedule_delivery(delivery, tenant, url, at)
end

local function delete_delivery(delivery)
  local record = key('delivery', delivery)
  local of = redis.call('HMGET', record, 'tenant', 'url')
  if not of[1] then return end
  local name = lane_of(of[1], of[2])
  redis.call('ZREM', key('lane', name), delivery)
  if redis.call('EXISTS', key('lane', name)) == 0 then redis.call('ZREM', key('deliveries'), name) end
  redis.call('ZREM', key('tenant', of[1], 'dead'), delivery)
  redis.call('DEL', record, record .. ':log', record .. ':job')
end

-- Gives each delivery of a job its own copy of the job, unless it has one. A webhook about an end shows
-- the job as it is when it is sent, so this must happen before the job starts again or is removed. The
-- copy has no result, because the result is deleted with the job.
local function copy_job_to_deliveries(job_id)
  local deliveries = redis.call('LRANGE', key('job', job_id, 'deliveries'), 0, -1)
  if #deliveries == 0 then return end
  local view = job_view(job_id)
  if view[3] then
    local outcome = cjson.decode(view[3])
    outcome.result = nil
    view[3] = cjson.encode(outcome)
  end
  for _, delivery in ipairs(deliveries) do
    redis.call('SET', key('delivery', delivery, 'job'), cjson.encode(view), 'NX')
  end
end

-- Keeps a delivery whose job is gone for one more week.
local function expire_delivery(delivery)
  local record = key('delivery', delivery)
  for _, part in ipairs({record, record .. ':log', record .. ':job'}) do
    redis.call('EXPIRE', part, 604800)
  end
end

-- Lists a delivery as a dead letter of its tenant. A tenant has at most 10,000: the oldest is deleted.
local function add_dead_letter(delivery, tenant, at)
  local dead = key('tenant', tenant, 'dead')
  redis.call('ZADD', dead, timestamp(at), delivery)
  if redis.call('ZCARD', dead) > 10000 then
    delete_delivery(redis.call('ZPOPMIN', dead)[1])
  end
  redis.call('ZREMRANGEBYSCORE', dead, '-inf', timestamp(at - 3456000))  -- longer than a job and a week
end

-- Returns the key with the failures of an address since it last accepted a webhook. There is no such key
-- while all is well.
local function endpoint_key(tenant, url)
  return key('tenant', tenant, 'endpoint', redis.sha1hex(url))
end

-- Returns a delivery with its log, the time of its next attempt, and why its endpoint is disabled; or
-- false if there is no such delivery.
local function delivery_view(delivery)
  local record = key('delivery', delivery)
  local of = redis.call('HMGET', record, 'tenant', 'url')
  if not of[1] then return false end
  return {
    delivery,
    redis.call('HGETALL', record),
    redis.call('LRANGE', record .. ':log', 0, -1),
    redis.call('ZSCORE', key('lane', lane_of(of[1], of[2])), delivery),
    redis.call('HMGET', endpoint_key(of[1], of[2]), 'disabled_at', 'disabled_for'),
  }
end

-- Creates the delivery of an event if the webhook of the job wants that kind of event. `kind`: started, or
-- the terminal state. Returns whether a delivery was created.
local function deliver_event(job, webhook, kind, at)
  if webhook == cjson.null then return false end
  local event = 'restoration.' .. kind
  for _, wanted in ipairs(webhook.events) do
    if wanted == event then
      local id = make_event_id(job, kind)
      local delivery = 'dlv_' .. string.sub(id, 5)
      create_delivery(delivery, event, job.tenant, webhook.url, at, 'event_id', id, 'job_id', job.id)
      redis.call('RPUSH', key('job', job.id, 'deliveries'), delivery)
      return true
    end
  end
  return false
end

