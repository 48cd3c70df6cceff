-- Functions that the scripts share: batches, which count the states of their jobs.
--
-- The record of a batch is a hash. `total` is the number of its items. `rejected` of them became no job.
-- `created` counts the jobs whose records exist or existed; `queued`, `running`, `succeeded`, `failed`,
-- `canceled` and `erased` count these by state. The list `items` has one entry for each item, in order: the
-- id of its job, or the problem (JSON) for which it was rejected.

-- The event of a batch waits so long for the results of the batch. It is sent when they are stored.
local RESULTS_WAIT_S = 3600

local function batch_event_id(batch, generation)
  return make_event_id({id = batch, generation = generation}, 'completed')
end

-- Returns the id of the delivery of a batch's event.
local function batch_delivery(batch, generation)
  return 'dlv_' .. string.sub(batch_event_id(batch, generation), 5)
end

-- Gives the event of a batch a new copy of the batch, which it shows.
local function show_in_event(batch, generation)
  local record = key('delivery', batch_delivery(batch, generation))
  if redis.call('EXISTS', record) == 0 then return end
  redis.call('HSET', record, 'batch', cjson.encode(redis.call('HGETALL', key('batch', batch))))
end

-- Sends the event of a batch now, if it still waits for the results.
local function send_batch_event(batch, generation)
  local delivery = batch_delivery(batch, generation)
  local of = redis.call('HMGET', key('delivery', delivery), 'tenant', 'url', 'state', 'tries',
    'token')
  if of[3] ~= 'pending' or of[4] ~= '0' or of[5] then return end
  schedule_delivery(delivery, of[1], of[2], now())
end

-- Ends a batch if the last of its jobs has ended: its end, its expiry and its event. The event shows the
-- batch as it is now, also if it is sent later.
local function settle_batch(batch)
  local record, at = key('batch', batch), now()
  local has = redis.call('HMGET', record, 'total', 'rejected', 'created', 'queued', 'running',
    'finished_at', 'tenant', 'webhook', 'generation', 'ttl_s')
  if not has[1] or has[6] then return end
  local accepted = tonumber(has[1]) - tonumber(has[2])
  if tonumber(has[3]) < accepted or tonumber(has[4]) + tonumber(has[5]) > 0 then return end
  redis.call('HSET', record, 'finished_at', timestamp(at),
    'expires_at', timestamp(at + tonumber(has[10])))
  redis.call('ZADD', key('batches', 'finished'), timestamp(at), batch)
  redis.call('ZADD', key('batches', 'expiry'), timestamp(at + tonumber(has[10])), batch)
  if not has[8] then return end
  local delivery = batch_delivery(batch, has[9])
  create_delivery(delivery, 'batch.completed', has[7], has[8], at,
    'event_id', batch_event_id(batch, has[9]), 'batch_id', batch)
  show_in_event(batch, has[9])
  schedule_delivery(delivery, has[7], has[8], at + RESULTS_WAIT_S)
end

-- Opens a batch that had ended, because one of its jobs runs again. It gets a new end and a new event.
local function reopen_batch(batch)
  local record = key('batch', batch)
  local has = redis.call('HMGET', record, 'finished_at', 'generation')
  if not has[1] then return end
  send_batch_event(batch, has[2])
  redis.call('HDEL', record, 'finished_at', 'expires_at', 'results', 'cancel')
  redis.call('HINCRBY', record, 'generation', 1)
  redis.call('ZREM', key('batches', 'finished'), batch)
  redis.call('ZREM', key('batches', 'expiry'), batch)
end

-- Counts a job of a batch that goes from one state to the next. `from` is nil for a new job.
local function count_in_batch(job, from, to)
  local record = job.batch and key('batch', job.batch)
  if not record or redis.call('EXISTS', record) == 0 then return end
  redis.call('HINCRBY', record, from or 'created', from and -1 or 1)
  redis.call('HINCRBY', record, to, 1)
  if to == 'running' and not redis.call('HGET', record, 'started_at') then
    redis.call('HSET', record, 'started_at', timestamp(now()))
  end
end
