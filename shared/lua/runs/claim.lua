-- Starts the next job of a queue for one worker: counts the start and grants the lease. The queue is that
-- of the model and the priority of the job which the doorbell names, in the pool of the worker. That job need not be queued itself: a doorbell only says that there
-- may be work.
--
-- Arguments:
--   doorbell_id: text     id of the job that the doorbell names
--   worker: text          name of the worker
--   pool: text?           of the worker; none: the default pool
--   token: text           fencing token of the new run
--   lease_s: number       seconds until the lease ends
--   deadline_s: number    seconds in which a job must end
--   too_late: text        problem, JSON, for a job that ran before and is past its deadline
--   never_started: text   problem, JSON, for a job that did not start in time
--   places: text?         JSON (shared.jobs.runs.Places); none: the worker has a place for any job
-- Returns: the id and the view of the started job; false if there is nothing to do
local mine = redis.call('GET', key('claim', token))
if mine then  -- the response was lost
  if not load_run(mine, token) then return false end
  return {mine, job_view(mine)}
end
local of = redis.call('HMGET', key('job', doorbell_id), 'model', 'priority')
if not of[1] then return false end
local doorbell = {id = doorbell_id, model = of[1], priority = of[2], pool = pool}
local at = now()
local limits = places and cjson.decode(places)

local function contains(list, value)
  for _, item in ipairs(list) do
    if item == value then return true end
  end
  return false
end

-- Returns the host of a URL without its port. shared/net/fetcher.py has the same function.
local function host_of(url)
  local authority = string.match(url, '^%s*%a+://([^/?#]*)') or ''
  return (string.gsub(string.lower(authority), ':%d*$', ''))
end

-- Returns whether the worker has a place for the job: one of its device's places, or, for a photo at a URL,
-- one of its places for fetching.
local function has_place(job)
  if not limits then return true end
  local url = job_spec(job).source.url
  if not url then return limits.stored end
  return limits.urls and not contains(limits.full_tenants, job.tenant)
    and not contains(limits.full_hosts, host_of(url))
end

-- Returns the first job for which the worker has a place, if it has none for the next job. It looks at 8
-- jobs of each tenant and at 128 in all. A tenant whose jobs were passed over gains no turns by that: its
-- number is raised to that of a tenant that joins the queue.
local function next_with_place(name)
  local turns, looked = key('turns', name), 0
  for _, tenant in ipairs(redis.call('ZRANGE', turns, 0, 31)) do
    for _, id in ipairs(redis.call('ZRANGE', key('line', name, tenant), 0, 7)) do
      if looked == 128 then return nil end
      looked = looked + 1
      local job = load_job(id)
      if job and job.status == 'queued' and at < tonumber(job.deadline) and has_place(job) then
        return job
      end
    end
    redis.call('ZADD', turns, 'XX', 'GT', first_turn(name), tenant)
  end
end

-- Returns the next job that can start. Jobs before it whose deadline is over fail here, at most 100 of
-- them for one doorbell.
local function startable(name)
  for _ = 1, 100 do
    local id, tenant = next_job(name)
    if not id then return nil end
    local job = load_job(id)
    if not job or job.status ~= 'queued' then  -- its keys were changed by hand
      dequeue({id = id, tenant = tenant, model = doorbell.model, priority = doorbell.priority,
        pool = pool})
    elseif at < tonumber(job.deadline) then
      return has_place(job) and job or next_with_place(name)
    else
      fail_late_job(job, too_late, never_started)
    end
  end
end

local name = queue_of(doorbell)
if is_paused(name) then return false end
local job = startable(name)
if not job then return false end

if doorbell.id ~= job.id then  -- its doorbell was used for another job, so it is due for a new one
  redis.call('ZADD', key('due', name), 'XX', timestamp(at), doorbell.id)
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
