-- Whether a queue has room for another doorbell.
local model, priority, max_bells = unpack(ARGV)
local name = queue_of({model = model, priority = priority})
return redis.call('LLEN', bells(name)) < tonumber(max_bells) and 1 or 0
