-- Put before every script. Times are Unix seconds by Redis' own clock, the only one that counts.
-- Keys are made here, not passed in: the scripts need a primary, not a cluster.

-- What may follow what: shared/jobs.py has the same table, and a test compares them.
local NEXT = {
  queued = {running = true, failed = true, canceled = true},
  running = {queued = true, succeeded = true, failed = true, canceled = true},
  succeeded = {},
  failed = {},
  canceled = {},
}

local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local function text(seconds)
  return string.format('%.6f', seconds)
end

local function key(...)
  return 'fm:' .. table.concat({...}, ':')
end

-- A job is three keys: a hash of small fields (kept compact by Redis as long as none is longer
-- than 64 bytes), what was asked for (`spec`, JSON) and how it ended (`outcome`, JSON).
local function view(id)
  local record = key('job', id)
  return {
    redis.call('HGETALL', record),
    redis.call('GET', record .. ':spec'),
    redis.call('GET', record .. ':outcome'),
  }
end

-- What the scripts need to know of a job; nil if there is none.
local CONTROL = {
  'tenant', 'status', 'model', 'priority', 'created_at', 'deadline', 'attempt', 'token', 'cancel',
  'not_before', 'ttl_s',
}

local function load(id)
  local values = redis.call('HMGET', key('job', id), unpack(CONTROL))
  if not values[1] then return nil end
  local job = {id = id}
  for i, field in ipairs(CONTROL) do job[field] = values[i] or nil end
  job.attempt = tonumber(job.attempt or '0')
  return job
end

-- The job if it runs under this token, else nil: the fence.
local function owned(id, token)
  local job = load(id)
  if job and job.status == 'running' and job.token == token then return job end
  return nil
end

-- Ids in an index whose time has come. One without a record (somebody deleted it by hand) is
-- dropped: it must not stop those behind it.
local function come(index, at, limit)
  local ids = {}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', text(at), 'LIMIT', 0, limit)) do
    if redis.call('EXISTS', key('job', id)) == 1 then
      ids[#ids + 1] = id
    else
      redis.call('ZREM', index, id)
    end
  end
  return ids
end

-- Indexes of a queued job: its queue (for positions), its doorbell, its tenant's quota.
local function enqueue(job, due)
  local name = job.priority .. ':' .. job.model
  redis.call('SADD', key('queues'), name)
  redis.call('ZADD', key('queue', name), job.created_at, job.id)
  redis.call('ZADD', key('due', name), text(due), job.id)
  redis.call('ZADD', key('tenant', job.tenant, 'queued'), job.created_at, job.id)
end

local function dequeue(job)
  local name = job.priority .. ':' .. job.model
  redis.call('ZREM', key('queue', name), job.id)
  redis.call('ZREM', key('due', name), job.id)
  redis.call('ZREM', key('tenant', job.tenant, 'queued'), job.id)
end

-- Out of the indexes of the old state, into the new one. Refused before anything is written.
local function move(job, to)
  if not NEXT[job.status][to] then
    error('a job cannot go from ' .. job.status .. ' to ' .. to)
  end
  if job.status == 'queued' then
    dequeue(job)
  else
    redis.call('ZREM', key('leases'), job.id)
    redis.call('HDEL', key('job', job.id), 'token', 'worker', 'progress')
  end
  redis.call('HSET', key('job', job.id), 'status', to)
  redis.call('HINCRBY', key('job', job.id), 'version', 1)
  job.status = to
end

-- The event of a terminal state. Its id follows from job, start and outcome: however often
-- something is repeated, receivers see one id. In the shape of a UUIDv7, as all our ids.
local function event_id(job)
  local digest = redis.sha1hex(job.id .. ' ' .. job.attempt .. ' ' .. job.status)
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
  redis.call('ZREM', key('lane', lane(of[1], of[2])), delivery)
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

local function bury(delivery, tenant, at)
  local dead = key('tenant', tenant, 'dead')
  redis.call('ZADD', dead, text(at), delivery)
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

local function post(job, at)
  local webhook = cjson.decode(redis.call('GET', key('job', job.id, 'spec'))).webhook
  if webhook == cjson.null then return end
  local event = 'restoration.' .. job.status
  for _, wanted in ipairs(webhook.events) do
    if wanted == event then
      local id = event_id(job)
      local delivery = 'dlv_' .. string.sub(id, 5)
      new_delivery(delivery, event, job.tenant, webhook.url, at, 'event_id', id, 'job_id', job.id)
      redis.call('RPUSH', key('job', job.id, 'deliveries'), delivery)
      return
    end
  end
end

-- The terminal state with all that belongs to it: outcome, expiry, event and delivery.
local function settle(job, status, outcome)
  local at = now()
  move(job, status)
  local expires = text(at + tonumber(job.ttl_s))
  local record = key('job', job.id)
  redis.call('SET', record .. ':outcome', outcome)
  redis.call('HSET', record, 'finished_at', text(at), 'expires_at', expires)
  redis.call('HDEL', record, 'cancel', 'deadline', 'not_before',
    'spent_transient', 'spent_drain', 'spent_lost')
  redis.call('ZREM', key('deadlines'), job.id)
  redis.call('ZADD', key('expiry'), expires, job.id)
  post(job, at)
end

-- A run ended without an outcome: back into the queue on this reason's budget, or failed with
-- `problem` when that or the number of starts is spent. A drain gives its start back.
local function requeue(job, reason, budget, max_starts, delay, problem)
  if job.cancel then
    settle(job, 'canceled', '{}')
    return job.status
  end
  local record = key('job', job.id)
  local spent = redis.call('HINCRBY', record, 'spent_' .. reason, 1)
  local drained = tonumber(redis.call('HGET', record, 'spent_drain') or '0')
  if spent > tonumber(budget) or job.attempt - drained >= tonumber(max_starts) then
    settle(job, 'failed', '{"error":' .. problem .. '}')
    return job.status
  end
  local due = now() + tonumber(delay)
  move(job, 'queued')
  enqueue(job, due)
  redis.call('HSET', record, 'not_before', text(due))
  return job.status
end

