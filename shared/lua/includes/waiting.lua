-- Common to the scripts: where queued jobs wait, and whose turn it is.
--
-- A queue is a priority and a model. In it each tenant has a line, oldest job first, and the tenants
-- take turns: next is who had the fewest (`turns`). Who comes anew begins at most CREDIT turns behind
-- the others, so that a few photos go before a flood, and nobody can save up more than that. Turns of
-- tenants with an empty line are remembered (`rested`) as long as they make a difference.
local CREDIT = 16
local URGENCY = {'high', 'normal', 'low'}

local function queue_of(job)
  return job.priority .. ':' .. job.model
end

-- The list that Celery keeps of a queue's doorbells; shared/queue/celery_queue.py has the same name.
local function bells(name)
  local priority, model = string.match(name, '^(%a+):(.*)$')
  return 'restore.' .. model .. '.' .. priority
end

-- Turns that make no difference any more: whoever has so many or fewer begins at this number anyway.
local function forgotten_turns(name)
  local most = redis.call('ZREVRANGE', key('turns', name), 0, 0, 'WITHSCORES')[2]
  return math.max(0, tonumber(most or '0') - CREDIT)
end

local function stand_in_line(job)
  local name = queue_of(job)
  local turns, rested = key('turns', name), key('rested', name)
  redis.call('ZADD', key('line', name, job.tenant), job.since, job.id)
  if not redis.call('ZSCORE', turns, job.tenant) then
    local had = tonumber(redis.call('ZSCORE', rested, job.tenant) or '0')
    redis.call('ZADD', turns, math.max(had, forgotten_turns(name)), job.tenant)
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
    redis.call('ZREMRANGEBYSCORE', rested, '-inf', forgotten_turns(name))
  end
end

-- The job whose turn it is, or nil.
local function next_in(name)
  local tenant = redis.call('ZRANGE', key('turns', name), 0, 0)[1]
  if not tenant then return nil end
  return redis.call('ZRANGE', key('line', name, tenant), 0, 0)[1], tenant
end

-- All indexes of a queued job: its queue (for positions, by the moment from which it may start), its
-- tenant's quota, and its line and doorbell; or `later`, while it waits for its next try. The bell
-- rings after `grace`, for who has brought it here may ring at once.
local function enqueue(job, delay, grace)
  local name, at = queue_of(job), now()
  redis.call('SADD', key('queues'), name)
  redis.call('ZADD', key('queue', name), text(at + delay), job.id)
  redis.call('ZADD', key('tenant', job.tenant, 'queued'), job.since, job.id)
  if delay > 0 then
    redis.call('ZADD', key('later'), text(at + delay), job.id)
  else
    stand_in_line(job)
    redis.call('ZADD', key('due', name), text(at + grace), job.id)
  end
end

local function dequeue(job)
  local name = queue_of(job)
  redis.call('ZREM', key('queue', name), job.id)
  redis.call('ZREM', key('tenant', job.tenant, 'queued'), job.id)
  redis.call('ZREM', key('due', name), job.id)
  redis.call('ZREM', key('later'), job.id)
  leave_line(job)
end

-- Puts a doorbell into its queue, if that has room; the dispatcher rings for the rest. It stands for
-- the queue, not for a job (see claim), so nothing waits longer because nobody rang for it.
local function ring_at_once(job, bell, max_bells)
  local list = bells(queue_of(job))
  if bell ~= '' and redis.call('LLEN', list) < tonumber(max_bells) then
    redis.call('LPUSH', list, bell)
  end
end

-- Whether one more job of this tenant is too much: so many wait, or one of its own has waited for
-- `max_age` seconds (0: any) that this one would have to wait for.
local function too_much(job, max_queued, max_age)
  if redis.call('ZCARD', key('tenant', job.tenant, 'queued')) >= max_queued then return true end
  if max_age == 0 then return false end
  for _, priority in ipairs(URGENCY) do
    local name = priority .. ':' .. job.model
    local first = redis.call('ZRANGE', key('line', name, job.tenant), 0, 0)[1]
    local since = first and redis.call('ZSCORE', key('queue', name), first)
    if since and now() - tonumber(since) > max_age then return true end
    if priority == job.priority then return false end
  end
end

