-- Gives an idempotency key back, unless a job was made under it.
if redis.call('HEXISTS', ARGV[1], 'job') == 0 then redis.call('DEL', ARGV[1]) end
