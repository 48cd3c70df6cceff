-- One record and, while it is queued, its place in its queue (1 is next).
local id = ARGV[1]
local job = load(id)
if not job then return false end
local position = false
if job.status == 'queued' then
  position = redis.call('ZRANK', key('queue', queue_of(job)), id) + 1
end
return {view(id), position}
