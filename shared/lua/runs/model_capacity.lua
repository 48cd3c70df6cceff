-- Returns what the live workers of a model in a pool can do together.
--
-- Arguments:
--   model: text         in its pool
--   silent_s: number    seconds after which a worker is counted as gone
-- Returns: device places, and faces per second as text (0: not measured); false without a live worker
remove_silent_workers(silent_s)
local places = redis.call('HGET', key('models', 'places'), model)
if not places then return false end
return {tonumber(places), redis.call('HGET', key('models', 'faces_per_s'), model) or '0'}
