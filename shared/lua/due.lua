-- Queued jobs that are due and whose doorbell did not ring lately; counts it as rung now.
-- A queue that already holds many doorbells gets none: workers are busy, not deaf.
local limit, ring_again_s, max_bells = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local at, due = now(), {}

local order = {}
for _, priority in ipairs({'high', 'normal', 'low'}) do
  for _, name in ipairs(redis.call('SMEMBERS', key('queues'))) do
    if string.sub(name, 1, #priority + 1) == priority .. ':' then order[#order + 1] = name end
  end
end

for _, name in ipairs(order) do
  local priority, model = string.match(name, '^(%a+):(.*)$')
  local bells = redis.call('LLEN', 'restore.' .. model .. '.' .. priority)
  local room = math.min(limit - #due, max_bells - bells)
  if room > 0 then
    for _, id in ipairs(come(key('due', name), at, room)) do
      redis.call('ZADD', key('due', name), text(at + ring_again_s), id)
      due[#due + 1] = {id, model, priority}
    end
  end
  if redis.call('EXISTS', key('queue', name)) == 0 then
    redis.call('SREM', key('queues'), name)
  end
end
return due
