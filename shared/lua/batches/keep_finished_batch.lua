-- Prolongs a claim of claim_finished_batch.lua.
--
-- Arguments:
--   id: text
--   claim_s: number
-- Returns: 1; 0 if the batch was erased, or one of its jobs runs again
local finished = key('batches', 'finished')
if not redis.call('ZSCORE', finished, id) then return 0 end
redis.call('ZADD', finished, timestamp(now() + claim_s), id)
return 1
