-- Adds what a shadow run has measured to the sums of its pair of models. Other files of the models have
-- other sums, so that no mean is of two files.
--
-- Arguments:
--   new: text           the model that runs in the shadow
--   old: text           the served model
--   files: text         sha256 of both files, as new:old
--   figures: text       JSON: what to add, by field (shared.jobs.shadow_sums)
--   ttl_s: number       seconds after which sums that do not grow are removed
-- Returns: nothing
local index, at = key('shadow', new, old), now()
local sums = index .. ':' .. files
for field, value in pairs(cjson.decode(figures)) do
  redis.call('HINCRBYFLOAT', sums, field, value)
end
redis.call('ZADD', index, timestamp(at), files)
redis.call('ZREMRANGEBYSCORE', index, '-inf', timestamp(at - ttl_s))
redis.call('EXPIRE', sums, ttl_s)
redis.call('EXPIRE', index, ttl_s)
