-- Removes the record and every trace in the indexes; a tombstone keeps late writers out.
local id, tenant, tombstone_s = unpack(ARGV)
local job = load(id)
if not job or job.tenant ~= tenant then return 0 end
dequeue(job)
for _, index in ipairs({'leases', 'deadlines', 'expiry'}) do
  redis.call('ZREM', key(index), id)
end
redis.call('ZREM', key('tenant', tenant, 'jobs'), id)
for _, delivery in ipairs(redis.call('LRANGE', key('job', id, 'deliveries'), 0, -1)) do
  redis.call('ZREM', key('deliveries'), delivery)
  redis.call('DEL', key('delivery', delivery), key('delivery', delivery, 'log'))
end
local record = key('job', id)
redis.call('DEL', record, record .. ':spec', record .. ':outcome', record .. ':deliveries')
redis.call('SET', key('gone', id), '1', 'EX', tombstone_s)
return 1
