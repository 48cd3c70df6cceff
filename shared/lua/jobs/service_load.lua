-- Measures how long jobs and webhooks have waited, and how much work waits and runs, all at one moment.
--
-- Arguments: none
-- Returns: lists of a kind, a number in milliseconds, and for what; JobStore.load explains them
local SAMPLED = 1000  -- running jobs whose records are read; the others count in proportion
local at, found = now(), {}

local function milliseconds_since(time)
  return time and math.max(0, math.floor(1000 * (at - tonumber(time)))) or 0
end

-- Returns the work of some jobs of a model in a pool in milliseconds of a device: by the mean number of faces of its
-- jobs and the time of a face on the worker that announced the model last. A face counts as one second
-- until a worker has measured it.
local function work_ms(model, jobs)
  local mean = redis.call('HMGET', key('work', model), 'jobs', 'faces')
  local faces = mean[1] and tonumber(mean[2]) / tonumber(mean[1]) or 1
  return math.ceil(jobs * faces * tonumber(redis.call('HGET', key('speeds'), model) or '1000'))
end

local waiting, running = {}, {}
for _, name in ipairs(redis.call('SMEMBERS', key('queues'))) do
  local priority, model = string.match(name, '^(%a+):(.*)$')
  local first = redis.call('ZRANGE', key('queue', name), 0, 0, 'WITHSCORES')[2]
  found[#found + 1] = {'oldest', milliseconds_since(first), model, priority}
  waiting[model] = (waiting[model] or 0) + redis.call('ZCARD', key('queue', name))
end
local leases = redis.call('ZCARD', key('leases'))
local sample = redis.call('ZRANGE', key('leases'), 0, SAMPLED - 1)
for _, id in ipairs(sample) do
  local has = redis.call('HMGET', key('job', id), 'model', 'pool')
  if has[1] then
    local model = in_pool(has[1], has[2])
    running[model] = (running[model] or 0) + leases / #sample
  end
end
for model, jobs in pairs(waiting) do found[#found + 1] = {'waiting', work_ms(model, jobs), model} end
for model, jobs in pairs(running) do found[#found + 1] = {'running', work_ms(model, jobs), model} end
local due = redis.call('ZRANGE', key('deliveries'), 0, 0, 'WITHSCORES')[2]
found[#found + 1] = {'webhook', milliseconds_since(due)}
return found
