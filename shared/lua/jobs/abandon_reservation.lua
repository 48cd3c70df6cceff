-- Gives an idempotency key back, unless a job was created under it.
--
-- Arguments:
--   reservation: text    key of the reservation
-- Returns: nothing
if redis.call('HEXISTS', reservation, 'job') == 0 then redis.call('DEL', reservation) end
