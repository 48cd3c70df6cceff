-- queued -> canceled at once; a running job is asked to stop.
local id, tenant = unpack(ARGV)
local job = load(id)
if not job or job.tenant ~= tenant then return false end
if job.status == 'queued' then
  settle(job, 'canceled', '{}')
elseif job.status == 'running' then
  if not job.cancel then
    redis.call('HSET', key('job', id), 'cancel', '1')
    redis.call('HINCRBY', key('job', id), 'version', 1)
  end
else
  return job.status
end
return view(id)
