-- Takes jobs, batches and lanes of webhooks out of all lists in which processes find work. Their records
-- stay as they are, and `admit` puts them into these lists again, here or in another cell. A job that waits
-- before another try has waited long enough then.
--
-- Arguments:
--   names: texts   ids of jobs and batches, and lanes as 'lane:' and the name
-- Returns: how many jobs were taken out of a queue; the ids of jobs that a process works on, which are left as
--   they are
local held, busy = 0, {}

local function hold_job(id)
  local job = load_job(id)
  if not job then return end
  if job.status == 'running' or redis.call('ZSCORE', key('expiring'), id) then
    busy[#busy + 1] = id
    return
  end
  if job.status == 'queued' then
    held = held + redis.call('ZREM', key('due', queue_of(job)), id) + redis.call('ZREM', key('later'), id)
    dequeue(job)
    redis.call('ZADD', key('tenant', job.tenant, 'queued'), job.since, id)  -- it still counts
  end
  redis.call('ZREM', key('deadlines'), id)
  redis.call('ZREM', key('expiry'), id)
end

for _, name in ipairs(names) do
  local kind = string.sub(name, 1, 4)
  if kind == 'lane' then
    redis.call('ZREM', key('deliveries'), string.sub(name, 6))
  elseif kind == 'bat_' then
    redis.call('ZREM', key('batches', 'finished'), name)
    redis.call('ZREM', key('batches', 'expiry'), name)
  else
    hold_job(name)
  end
end
return {held, busy}
