-- All deliveries of one job with their tries, oldest first.
local id, tenant = unpack(ARGV)
local job = load(id)
if not job or job.tenant ~= tenant then return false end
local found = {}
for _, delivery in ipairs(redis.call('LRANGE', key('job', id, 'deliveries'), 0, -1)) do
  found[#found + 1] = letter(delivery) or nil
end
return found
