-- Writes down where the results of a batch are, and sends its event, which shows them.
--
-- Arguments:
--   id: text
--   generation: number
--   results: text        JSON (Batch.results)
-- Returns: 1; 0 if the batch was erased, or one of its jobs runs again
local record = key('batch', id)
local has = redis.call('HMGET', record, 'finished_at', 'generation')
if not has[1] or tonumber(has[2]) ~= generation then return 0 end
redis.call('HSET', record, 'results', results)
redis.call('ZREM', key('batches', 'finished'), id)
show_in_event(id, has[2])
send_batch_event(id, has[2])
return 1
