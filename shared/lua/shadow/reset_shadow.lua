-- Removes all sums of a pair of models.
--
-- Arguments:
--   new: text    the model that runs in the shadow
--   old: text    the served model
-- Returns: nothing
local index = key('shadow', new, old)
for _, files in ipairs(redis.call('ZRANGE', index, 0, -1)) do
  redis.call('DEL', index .. ':' .. files)
end
redis.call('DEL', index)
