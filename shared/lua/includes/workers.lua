-- Functions that the scripts share: the workers that announce themselves, and a summary of the models that
-- they serve. The summary is kept up to date with each announcement, so that it costs the same to read with
-- one worker and with a thousand.

-- Adds the models of an announcement to the summary (`sign` 1), or takes them out (-1).
local function count_models(announcement, sign)
  for _, model in ipairs(cjson.decode(announcement)) do
    local name = in_pool(model.name, model.pool)
    redis.call('HINCRBY', key('models', 'places'), name, sign * (model.places or 1))
    if type(model.ms_per_face) == 'number' and model.ms_per_face > 0 then
      redis.call('HINCRBYFLOAT', key('models', 'faces_per_s'), name, sign * 1000 / model.ms_per_face)
    end
    if redis.call('HINCRBY', key('models', 'workers'), name, sign) <= 0 then
      for _, field in ipairs({'workers', 'latest', 'places', 'faces_per_s'}) do
        redis.call('HDEL', key('models', field), name)
      end
    end
  end
end

local function remove_worker(worker)
  local announced = redis.call('HGET', key('workers', 'models'), worker)
  if announced then count_models(announced, -1) end
  redis.call('HDEL', key('workers', 'models'), worker)
  redis.call('HDEL', key('workers', 'state'), worker)
  redis.call('ZREM', key('workers'), worker)
end

-- Removes workers that did not announce themselves for `silent_s` seconds.
local function remove_silent_workers(silent_s)
  local last = timestamp(now() - silent_s)
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), '-inf', last)) do
    remove_worker(worker)
  end
  redis.call('ZREMRANGEBYSCORE', key('workers', 'hosts'), '-inf', last)
end
