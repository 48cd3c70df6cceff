-- Functions that the scripts share: where queued jobs wait, and which job is next.
--
-- A queue belongs to a priority and a model in a pool. In it each tenant has a line, oldest job first, and the
-- tenants take turns: the next job is from the tenant with the fewest starts (`turns`). A tenant that
-- joins a queue gets a number at most MAX_CREDIT below the others', so a few photos start before a flood,
-- and nobody can save up more than that. The number of a tenant whose line is empty is kept in `rested`
-- as long as it makes a difference.
local MAX_CREDIT = 16
local PRIORITIES = {'high', 'normal', 'low'}

-- Returns the name of the queue in which a job would wait with this priority.
local function queue_at(priority, job)
  return priority .. ':' .. in_pool(job.model, job.pool)
end

local function queue_of(job)
  return queue_at(job.priority, job)
end

-- Returns the name of Celery's list with the doorbells of a queue. shared/queue/celery_queue.py has the
-- same name.
local function doorbell_list(name)
  local priority, model = string.match(name, '^(%a+):(.*)$')
  return 'restore.' .. model .. '.' .. priority
end

-- Returns whether an operator has paused a queue: its jobs wait, and new ones may join.
local function is_paused(name)
  return redis.call('SISMEMBER', key('paused'), name) == 1
end

-- Returns the number at which a tenant without turns begins. A number that is not above it makes no
-- difference.
local function first_turn(name)
  local most = redis.call('ZREVRANGE', key('turns', name), 0, 0, 'WITHSCORES')[2]
  return math.max(0, tonumber(most or '0') - MAX_CREDIT)
end

local function join_line(job)
  local name = queue_of(job)
  local turns, rested = key('turns', name), key('rested', name)
  redis.call('ZADD', key('line', name, job.tenant), job.since, job.id)
  if not redis.call('ZSCORE', turns, job.tenant) then
    local had = tonumber(redis.call('ZSCORE', rested, job.tenant) or '0')
    redis.call('ZADD', turns, math.max(had, first_turn(name)), job.tenant)
    redis.call('ZREM', rested, job.tenant)
  end
end

local function leave_line(job)
  local name = queue_of(job)
  local line, turns, rested = key('line', name, job.tenant), key('turns', name), key('rested', name)
  redis.call('ZREM', line, job.id)
  local had = redis.call('ZSCORE', turns, job.tenant)
  if not had or redis.call('EXISTS', line) == 1 then return end
  redis.call('ZREM', turns, job.tenant)
  if redis.call('EXISTS', turns) == 0 then
    redis.call('DEL', rested)
  else
    redis.call('ZADD', rested, had, job.tenant)
    redis.call('ZREMRANGEBYSCORE', rested, '-inf', first_turn(name))
  end
end

-- Returns the id of the next job in a queue and its tenant, or nil.
local function next_job(name)
  local tenant = redis.call('ZRANGE', key('turns', name), 0, 0)[1]
  if not tenant then return nil end
  return redis.call('ZRANGE', key('line', name, tenant), 0, 0)[1], tenant
end

-- Adds a job to all indexes of a queued job: its queue (ordered by the time from which it may start), the
-- quota of its tenant, and its line and doorbell. A job that waits for `delay` seconds before its next try
-- is in `later` instead of a line. The dispatcher rings after `grace` seconds, because the caller may ring
-- at once itself.
local function enqueue(job, delay, grace)
  local name, at = queue_of(job), now()
  redis.call('SADD', key('queues'), name)
  redis.call('ZADD', key('queue', name), timestamp(at + delay), job.id)
  redis.call('ZADD', key('tenant', job.tenant, 'queued'), job.since, job.id)
  if delay > 0 then
    redis.call('ZADD', key('later'), timestamp(at + delay), job.id)
  else
    join_line(job)
    redis.call('ZADD', key('due', name), timestamp(at + grace), job.id)
  end
end

-- Lets a queued job that waits for a delay start now.
local function end_delay(job)
  local at = timestamp(now())
  redis.call('ZREM', key('later'), job.id)
  redis.call('ZADD', key('due', queue_of(job)), at, job.id)
  join_line(job)
end

local function dequeue(job)
  local name = queue_of(job)
  redis.call('ZREM', key('queue', name), job.id)
  redis.call('ZREM', key('tenant', job.tenant, 'queued'), job.id)
  redis.call('ZREM', key('due', name), job.id)
  redis.call('ZREM', key('later'), job.id)
  leave_line(job)
end

-- Puts a doorbell into its queue if there is one and the queue holds fewer than `max_doorbells`; the
-- dispatcher rings for the other jobs. A doorbell stands for the queue, not for a job (see claim.lua), so
-- no job waits longer because its own doorbell is missing.
local function ring(job, message, max_doorbells)
  local list = doorbell_list(queue_of(job))
  if message and redis.call('LLEN', list) < max_doorbells then
    redis.call('LPUSH', list, message)
  end
end

-- Returns how many jobs start before a queued job if no more jobs arrive: all of its model and pool with a higher
-- priority, the older jobs of its tenant, and those of other tenants whose turns come before its own. A
-- job that waits for a delay is counted as if it were in its line already; other such jobs are not
-- counted. Of more than MAX_TENANTS_COUNTED tenants in the queue, the others are not counted.
local MAX_TENANTS_COUNTED = 1000

local function jobs_ahead(job)
  local ahead = 0
  for _, priority in ipairs(PRIORITIES) do
    if priority == job.priority then break end
    ahead = ahead + redis.call('ZCOUNT', key('queue', queue_at(priority, job)), '-inf', timestamp(now()))
  end
  local name = queue_of(job)
  local line, turns = key('line', name, job.tenant), key('turns', name)
  local older = redis.call('ZRANK', line, job.id) or redis.call('ZCOUNT', line, '-inf', '(' .. job.since)
  local turn = redis.call('ZSCORE', turns, job.tenant)
    or math.max(tonumber(redis.call('ZSCORE', key('rested', name), job.tenant) or '0'), first_turn(name))
  local last = tonumber(turn) + older  -- the turn in which the job starts
  local others = redis.call('ZRANGEBYSCORE', turns, '-inf', last, 'WITHSCORES', 'LIMIT', 0,
    MAX_TENANTS_COUNTED)
  for i = 1, #others, 2 do
    local tenant, first = others[i], tonumber(others[i + 1])
    if tenant ~= job.tenant then
      local before = last - first
      if tenant < job.tenant then before = before + 1 end  -- at equal turns, the order of the names
      if before > 0 then
        ahead = ahead + math.min(before, redis.call('ZCARD', key('line', name, tenant)))
      end
    end
  end
  return ahead + older
end

-- Returns whether the tenant may not have one more job: as many as `max_queued` wait, or the job would
-- wait behind one of the tenant's own that has waited for more than `max_age` seconds (0: no limit).
local function over_quota(job, max_queued, max_age)
  if redis.call('ZCARD', key('tenant', job.tenant, 'queued')) >= max_queued then return true end
  if max_age == 0 then return false end
  for _, priority in ipairs(PRIORITIES) do
    local name = queue_at(priority, job)
    local first = redis.call('ZRANGE', key('line', name, job.tenant), 0, 0)[1]
    local since = first and redis.call('ZSCORE', key('queue', name), first)
    if since and now() - tonumber(since) > max_age then return true end
    if priority == job.priority then return false end
  end
end

