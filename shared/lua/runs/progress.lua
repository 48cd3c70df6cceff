-- Notes how far the run is.
local id, token, progress = unpack(ARGV)
local job = owned(id, token)
if not job then return 'fenced' end
redis.call('HSET', key('job', id), 'progress', progress)
redis.call('HINCRBY', key('job', id), 'version', 1)
return job.cancel and 'cancel' or 'go-on'
