-- Notes how a try went (delivered, failed, gone; unsent says nothing of the endpoint) and what follows:
-- another try after the delay, none without one. An endpoint that is gone, or with nothing but failures
-- for long, is disabled; one that takes something is well again.
local id, token, went, delay_s, entry = unpack(ARGV, 1, 5)
local kept, failing_s, forget_s, disabled_s = unpack(ARGV, 6, 9)
local record = key('delivery', id)
local has = redis.call('HMGET', record, 'token', 'state', 'tenant', 'url', 'job_id')
if has[1] ~= token or has[2] ~= 'pending' then return false end
local tenant, url, at = has[3], has[4], now()

local health = endpoint(tenant, url)
local disabled, changed = redis.call('HGET', health, 'disabled_for'), false
if went == 'delivered' then
  changed = disabled and 'enabled'
  redis.call('DEL', health)
elseif went ~= 'unsent' and not disabled then
  redis.call('HSETNX', health, 'failing_since', text(at))
  local since = tonumber(redis.call('HGET', health, 'failing_since'))
  disabled = went == 'gone' and 'gone' or at - since >= tonumber(failing_s) and 'failing'
  if disabled then
    redis.call('HSET', health, 'disabled_for', disabled, 'disabled_at', text(at))
  end
  redis.call('EXPIRE', health, disabled and disabled_s or forget_s)
  changed = disabled
end

local state = 'pending'
if went == 'delivered' then
  state = 'delivered'
elseif disabled or delay_s == '' then
  state = 'dead'
end

redis.call('HINCRBY', record, 'tries', 1)
redis.call('HSET', record, 'state', state)
redis.call('HDEL', record, 'token', 'probe')
redis.call('RPUSH', record .. ':log', entry)
redis.call('LTRIM', record .. ':log', -tonumber(kept), -1)
redis.call('ZREM', key('lane', lane(tenant, url)), id)
if state == 'pending' then
  deliver_at(id, tenant, url, at + tonumber(delay_s))
else
  if state == 'dead' then bury(id, tenant, at) end
  if redis.call('EXISTS', key('job', has[5] or '')) == 0 then let_expire(id) end
end
return {state, changed}
