-- Finds queued jobs whose doorbells should ring now, and counts those as sent. A queue that already holds a
-- doorbell for each of its jobs, or very many, gets none: its workers are busy.
--
-- Arguments:
--   limit: number           doorbells at most
--   ring_again_s: number    seconds until the doorbell of a job rings again
--   max_doorbells: number   doorbells that a queue may hold
-- Returns: triples of an id, a model in a pool and a priority
local at, due = now(), {}

for _, id in ipairs(due_ids(key('later'), at, 10 * limit)) do  -- the wait before another try is over
  local job = load_job(id)
  if job.content and maker_of(job.tenant, job.content) then  -- the equal job still runs
    redis.call('ZADD', key('later'), timestamp(at + EQUAL_WAIT_S), id)
    redis.call('ZADD', key('queue', queue_of(job)), timestamp(at + EQUAL_WAIT_S), id)
  else
    if job.content then redis.call('ZREM', key('waiting', job.tenant, job.content), id) end
    end_delay(job)
  end
end

local names = redis.call('SMEMBERS', key('queues'))
local function ring_queue(name, priority, model)
  local ready = redis.call('ZCARD', key('due', name))
  local room = math.min(ready, max_doorbells) - redis.call('LLEN', doorbell_list(name))
  room = math.min(room, limit - #due)
  if room > 0 and not is_paused(name) then
    for _, id in ipairs(due_ids(key('due', name), at, room)) do
      redis.call('ZADD', key('due', name), timestamp(at + ring_again_s), id)
      due[#due + 1] = {id, model, priority}
    end
  end
  if redis.call('EXISTS', key('queue', name)) == 0 then redis.call('SREM', key('queues'), name) end
end

for _, first in ipairs(PRIORITIES) do
  for _, name in ipairs(names) do
    local priority, model = string.match(name, '^(%a+):(.*)$')
    if priority == first then ring_queue(name, priority, model) end
  end
end
return due
