-- Removes the record and every trace in the indexes; a tombstone keeps late writers out. Answers the
-- state that the job was in: what ran is fenced from now on.
local id, tenant, tombstone_s = unpack(ARGV)
local outlive = ARGV[4] == '1'  -- deliveries that are not done live on: the job has only expired
local job = load(id)
if not job or job.tenant ~= tenant then return false end
if outlive and not redis.call('ZSCORE', key('expiry'), id) then return false end  -- it was started again
if job.status == 'queued' then dequeue(job) end
if job.token then redis.call('DEL', key('claim', job.token)) end
for _, index in ipairs({'leases', 'deadlines', 'expiry'}) do
  redis.call('ZREM', key(index), id)
end
redis.call('ZREM', key('tenant', tenant, 'jobs'), id)
if outlive then freeze_deliveries(id) end
for _, delivery in ipairs(redis.call('LRANGE', key('job', id, 'deliveries'), 0, -1)) do
  local state = redis.call('HGET', key('delivery', delivery), 'state')
  if not outlive or state == 'delivered' then
    forget_delivery(delivery)
  elseif state == 'dead' then
    let_expire(delivery)
  end
end
local record = key('job', id)
redis.call('DEL', record, record .. ':spec', record .. ':outcome', record .. ':deliveries')
redis.call('SET', key('gone', id), '1', 'EX', tombstone_s)
return job.status
