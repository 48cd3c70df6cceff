-- queued -> running, for one caller only: answers a doorbell with the job whose turn it is in the queue
-- of the job that rang, counts the start and grants the lease. That job need not be queued itself: a
-- bell only says that there may be work.
local rung, worker, token, lease_s, deadline_s, problem = unpack(ARGV)
local mine = redis.call('GET', key('claim', token))
if mine then  -- the answer was lost
  if not owned(mine, token) then return false end
  return {mine, view(mine)}
end
local of = redis.call('HMGET', key('job', rung), 'model', 'priority')
if not of[1] then return false end
rung = {id = rung, model = of[1], priority = of[2]}
local at = now()

-- Those in front that are too late fail here; so do a bounded number for one bell.
local function startable(name)
  for _ = 1, 100 do
    local id, tenant = next_in(name)
    if not id then return nil end
    local job = load(id)
    if not job or job.status ~= 'queued' then  -- somebody wrote by hand
      dequeue({id = id, tenant = tenant, model = rung.model, priority = rung.priority})
    elseif at < tonumber(job.deadline) then
      return job
    else
      fail(job, problem)
    end
  end
end

local name = queue_of(rung)
local job = startable(name)
if not job then return false end

if rung.id ~= job.id then  -- which has waited no less: it is due for a bell again
  redis.call('ZADD', key('due', name), 'XX', text(at), rung.id)
end

local record = key('job', job.id)
redis.call('ZINCRBY', key('turns', name), 1, job.tenant)
move(job, 'running')
redis.call('HSET', record, 'attempt', job.attempt + 1, 'starts', job.starts + 1, 'token', token,
  'worker', worker, 'started_at', text(at))
if job.start_before then  -- met; what is left is the time for the whole job
  local deadline = text(tonumber(job.since) + tonumber(deadline_s))
  redis.call('HSET', record, 'deadline', deadline)
  redis.call('ZADD', key('deadlines'), deadline, job.id)
end
redis.call('ZADD', key('leases'), text(at + tonumber(lease_s)), job.id)
redis.call('SET', key('claim', token), job.id, 'PX', math.ceil(1000 * tonumber(lease_s)))
local seen = view(job.id)
if job.attempt == 0 then post(job, webhook_of(seen[2]), 'started', at) end
return {job.id, seen}
