-- Returns which of some models in pools at least one live worker serves.
--
-- Arguments:
--   silent_s: number    seconds after which a worker is counted as gone
--   models: texts       models in pools
-- Returns: those that are served, in their order
remove_silent_workers(silent_s)
local live = {}
for _, model in ipairs(models) do
  if redis.call('HEXISTS', key('models', 'workers'), model) == 1 then live[#live + 1] = model end
end
return live
