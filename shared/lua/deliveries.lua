-- All deliveries of one job with their tries, oldest first.
local id, tenant = unpack(ARGV)
local job = load(id)
if not job or job.tenant ~= tenant then return false end
local found = {}
for _, delivery in ipairs(redis.call('LRANGE', key('job', id, 'deliveries'), 0, -1)) do
  local record = key('delivery', delivery)
  found[#found + 1] = {
    delivery,
    redis.call('HGETALL', record),
    redis.call('LRANGE', record .. ':log', 0, -1),
    redis.call('ZSCORE', key('deliveries'), delivery),
  }
end
return found
