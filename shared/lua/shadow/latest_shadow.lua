-- Returns the sums of a pair of models that grew last.
--
-- Arguments:
--   new: text    the model that runs in the shadow
--   old: text    the served model
-- Returns: {sha256 of both files as new:old, {field, sum, ...}}, or nil if there are none
local index = key('shadow', new, old)
local files = redis.call('ZRANGE', index, -1, -1)[1]
if not files then return nil end
return {files, redis.call('HGETALL', index .. ':' .. files)}
