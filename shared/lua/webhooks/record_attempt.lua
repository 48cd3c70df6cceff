-- Writes down the result of a delivery attempt, and what follows: another attempt, delivered, or dead. An
-- endpoint that is gone, or only failed for a long time, is disabled. One success enables it again.
--
-- Arguments:
--   id: text
--   token: text           of the lease on the delivery
--   result: text          delivered, failed, gone, or unsent (which says nothing about the endpoint)
--   delay_s: number?      seconds until the next attempt; none: this was the last one
--   entry: text           line of the log, JSON
--   max_entries: number   lines that the log keeps
--   failing_s: number     an endpoint that failed for so long is disabled
--   forget_s: text        seconds after which failures are forgotten
--   disabled_s: text      seconds for which a disabled endpoint is remembered
-- Returns: the state of the delivery, and 'gone', 'failing' or 'enabled' if this attempt changed the
--   endpoint; false if the lease is over
local record = key('delivery', id)
local has = redis.call('HMGET', record, 'token', 'state', 'tenant', 'url', 'job_id')
if has[1] ~= token or has[2] ~= 'pending' then return false end
local tenant, url, at = has[3], has[4], now()

local endpoint = endpoint_key(tenant, url)
local disabled, changed = redis.call('HGET', endpoint, 'disabled_for'), false
if result == 'delivered' then
  changed = disabled and 'enabled'
  redis.call('DEL', endpoint)
elseif result ~= 'unsent' and not disabled then
  redis.call('HSETNX', endpoint, 'failing_since', timestamp(at))
  local since = tonumber(redis.call('HGET', endpoint, 'failing_since'))
  disabled = result == 'gone' and 'gone' or at - since >= failing_s and 'failing'
  if disabled then
    redis.call('HSET', endpoint, 'disabled_for', disabled, 'disabled_at', timestamp(at))
  end
  redis.call('EXPIRE', endpoint, disabled and disabled_s or forget_s)
  changed = disabled
end

local state = 'pending'
if result == 'delivered' then
  state = 'delivered'
elseif disabled or not delay_s then
  state = 'dead'
end

redis.call('HINCRBY', record, 'tries', 1)
redis.call('HSET', record, 'state', state)
redis.call('HDEL', record, 'token', 'probe')
redis.call('RPUSH', record .. ':log', entry)
redis.call('LTRIM', record .. ':log', -max_entries, -1)
redis.call('ZREM', key('lane', lane_of(tenant, url)), id)
if state == 'pending' then
  schedule_delivery(id, tenant, url, at + delay_s)
else
  if state == 'dead' then add_dead_letter(id, tenant, at) end
  if redis.call('EXISTS', key('job', has[5] or '')) == 0 then expire_delivery(id) end
end
return {state, changed}
