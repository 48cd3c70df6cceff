-- queued -> running, for one caller only: counts the start and grants the lease.
local id, worker, token, lease_s, deadline_s, problem = unpack(ARGV)
local job = load(id)
if job and job.status == 'running' and job.token == token then  -- the answer was lost
  return view(id)
end
if not job or job.status ~= 'queued' then return false end
local at = now()
if at >= tonumber(job.deadline) then
  settle(job, 'failed', '{"error":' .. problem .. '}')
  return false
end
if job.not_before and at < tonumber(job.not_before) then return false end

local record = key('job', id)
local deadline = text(tonumber(job.created_at) + tonumber(deadline_s))
move(job, 'running')
redis.call('HINCRBY', record, 'attempt', 1)
redis.call('HSET', record, 'token', token, 'worker', worker, 'started_at', text(at),
  'deadline', deadline)
redis.call('HDEL', record, 'not_before')
redis.call('ZADD', key('leases'), text(at + tonumber(lease_s)), id)
redis.call('ZADD', key('deadlines'), deadline, id)
return view(id)
