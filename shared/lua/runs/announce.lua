-- Writes down which models a worker serves, and removes the workers that fell silent.
--
-- Arguments:
--   worker: text
--   host: text          its host: a host is alive while one of its workers is
--   models: text        JSON
--   silent_s: number    seconds after which a worker is counted as gone
-- Returns: nothing
local at, before = timestamp(now()), redis.call('HGET', key('workers', 'models'), worker)
if before ~= models then
  count_models(models, 1)
  if before then count_models(before, -1) end
  redis.call('HSET', key('workers', 'models'), worker, models)
end
for _, model in ipairs(cjson.decode(models)) do
  redis.call('HSET', key('models', 'latest'), model.name, cjson.encode(model))
end
redis.call('ZADD', key('workers'), at, worker)
redis.call('ZADD', key('workers', 'hosts'), at, host)
remove_silent_workers(silent_s)
