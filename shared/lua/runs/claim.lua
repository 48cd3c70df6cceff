-- Starts the next job of a queue for one worker: counts the start and grants the lease. The queue is that
-- of the job that rang. The job that rang need not be queued itself: a doorbell only says that there may
-- be work.
--
-- Arguments:
--   rung_id: text         id of the job that rang
--   worker: text          name of the worker
--   token: text           fencing token of the new run
--   lease_s: number       seconds until the lease ends
--   deadline_s: number    seconds in which a job must end
--   too_late: text        problem, JSON, for a job that ran before and is past its deadline
--   never_started: text   problem, JSON, for a job that did not start in time
-- Returns: the id and the view of the started job; false if there is nothing to do
local mine = redis.call('GET', key('claim', token))
if mine then  -- the response was lost
  if not load_run(mine, token) then return false end
  return {mine, job_view(mine)}
end
local of = redis.call('HMGET', key('job', rung_id), 'model', 'priority')
if not of[1] then return false end
local rung = {id = rung_id, model = of[1], priority = of[2]}
local at = now()

-- Returns the next job that can start. Jobs before it whose deadline is over fail here, at most 100 of
-- them for one doorbell.
local function startable(name)
  for _ = 1, 100 do
    local id, tenant = next_job(name)
    if not id then return nil end
    local job = load_job(id)
    if not job or job.status ~= 'queued' then  -- its keys were changed by hand
      dequeue({id = id, tenant = tenant, model = rung.model, priority = rung.priority})
    elseif at < tonumber(job.deadline) then
      return job
    else
      fail_late_job(job, too_late, never_started)
    end
  end
end

local name = queue_of(rung)
local job = startable(name)
if not job then return false end

if rung.id ~= job.id then  -- its doorbell was used for another job, so it is due for a new one
  redis.call('ZADD', key('due', name), 'XX', timestamp(at), rung.id)
end

local record = key('job', job.id)
redis.call('ZINCRBY', key('turns', name), 1, job.tenant)
change_state(job, 'running')
redis.call('HSET', record, 'attempt', job.attempt + 1, 'starts', job.starts + 1, 'token', token,
  'worker', worker, 'started_at', timestamp(at))
if job.start_before then  -- it starts in time, so from now on the deadline of the whole job counts
  local deadline = timestamp(tonumber(job.since) + deadline_s)
  redis.call('HSET', record, 'deadline', deadline)
  redis.call('ZADD', key('deadlines'), deadline, job.id)
end
redis.call('ZADD', key('leases'), timestamp(at + lease_s), job.id)
redis.call('SET', key('claim', token), job.id, 'PX', math.ceil(1000 * lease_s))
local view = job_view(job.id)
if job.attempt == 0 and deliver_event(job, webhook_in(view[2]), 'started', at) then
  copy_job_to_deliveries(job.id)  -- the event shows the job as it is now, also if it is sent later
end
return {job.id, view}
