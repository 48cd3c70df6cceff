-- Functions that the scripts share: equal jobs, which share one result.
--
-- The *content* of a job is a digest of all that decides its result (worker/jobs/content.py). Jobs of one
-- tenant with the same content are equal. A job has it in its record while it runs and its photo was read,
-- while it waits for an equal one and until it starts again, and when it has succeeded. For each content
--   `result` names the job whose result an equal job may copy,
--   `maker` names the running job on whose result equal jobs wait,
--   `waiting` lists these, oldest first. They are queued, and in `later` for at most EQUAL_WAIT_S at a time.
local EQUAL_WAIT_S = 30
-- So many jobs are woken by one script; each of them wakes as many when its own run ends.
local WOKEN_AT_ONCE = 16

-- Returns the running job on whose result the equal jobs of a tenant wait, or nil.
local function maker_of(tenant, content)
  local id = redis.call('GET', key('maker', tenant, content))
  local job = id and load_job(id)
  if job and job.status == 'running' and job.tenant == tenant and job.content == content then
    return job
  end
end

-- Lets jobs that wait for an equal one start now, the oldest first.
local function wake_equal_jobs(tenant, content, limit)
  local waiting = key('waiting', tenant, content)
  for _, id in ipairs(redis.call('ZRANGE', waiting, 0, limit - 1)) do
    local job = load_job(id)
    redis.call('ZREM', waiting, id)
    if job and job.status == 'queued' and job.content == content then
      redis.call('ZADD', key('queue', queue_of(job)), 'XX', timestamp(now()), id)
      end_delay(job)
    end
  end
end

-- A job on which equal jobs may wait goes `to` another state (nil: it is erased). If it has a result, or
-- cannot have one, many of them are woken: to copy the result, or to try each on its own. Else only the next
-- one is woken, on which the others wait.
local function leave_equal_jobs(job, to)
  local maker = key('maker', job.tenant, job.content)
  if redis.call('GET', maker) == job.id then redis.call('DEL', maker) end
  if to ~= 'succeeded' and maker_of(job.tenant, job.content) then return end
  local many = to == 'succeeded' or to == 'failed'
  wake_equal_jobs(job.tenant, job.content, many and WOKEN_AT_ONCE or 1)
end

-- A job that waited for an equal one, or was woken, goes `to` another state.
local function stop_waiting(job, to)
  redis.call('ZREM', key('waiting', job.tenant, job.content), job.id)
  redis.call('HDEL', key('job', job.id), 'content')
  if to ~= 'running' then leave_equal_jobs(job, to) end
end

-- Lets equal jobs find the result of a job, as long as the job is kept.
local function share_result(job)
  redis.call('HSET', key('job', job.id), 'content', job.content)
  redis.call('SET', key('result', job.tenant, job.content), job.id, 'EX', math.floor(tonumber(job.ttl_s)))
end

-- Takes a job that is being erased, in whatever state, from all that its equal jobs use.
local function forget_equal_job(job)
  local result = key('result', job.tenant, job.content)
  if redis.call('GET', result) == job.id then redis.call('DEL', result) end
  stop_waiting(job, nil)
end

