-- Writes down which models a worker serves and how busy it is, and removes the workers that fell silent.
--
-- Arguments:
--   worker: text
--   host: text          its host: a host is alive while one of its workers is
--   models: text        JSON (shared.jobs.workers.ServedModel), each with its pool unless that is the default
--   state: text?        JSON (shared.jobs.workers.WorkerState)
--   silent_s: number    seconds after which a worker is counted as gone
-- Returns: nothing
local at, before = timestamp(now()), redis.call('HGET', key('workers', 'models'), worker)
if before ~= models then
  count_models(models, 1)
  if before then count_models(before, -1) end
  redis.call('HSET', key('workers', 'models'), worker, models)
end
if state then redis.call('HSET', key('workers', 'state'), worker, state) end
for _, model in ipairs(cjson.decode(models)) do
  local name = in_pool(model.name, model.pool)
  redis.call('HSET', key('models', 'latest'), name, cjson.encode(model))
  -- A speed stays when the last worker is gone: it tells how much work waits (jobs/service_load.lua).
  if type(model.ms_per_face) == 'number' then
    redis.call('HSET', key('speeds'), name, model.ms_per_face)
  end
end
redis.call('ZADD', key('workers'), at, worker)
redis.call('ZADD', key('workers', 'hosts'), at, host)
remove_silent_workers(silent_s)
