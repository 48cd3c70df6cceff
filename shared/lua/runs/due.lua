-- Queued jobs whose doorbells should ring now; counts them as rung. A queue that already holds a bell
-- for each of its jobs, or very many, gets none: workers are busy, not deaf.
local limit, ring_again_s, max_bells = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local at, due = now(), {}

for _, id in ipairs(come(key('later'), at, 10 * limit)) do  -- the wait before another try is over
  local job = load(id)
  redis.call('ZREM', key('later'), id)
  redis.call('ZADD', key('due', queue_of(job)), text(at), id)
  stand_in_line(job)
end

local names = redis.call('SMEMBERS', key('queues'))
local function ring(name, priority, model)
  local ready = redis.call('ZCARD', key('due', name))
  local room = math.min(ready, max_bells) - redis.call('LLEN', bells(name))
  room = math.min(room, limit - #due)
  if room > 0 then
    for _, id in ipairs(come(key('due', name), at, room)) do
      redis.call('ZADD', key('due', name), text(at + ring_again_s), id)
      due[#due + 1] = {id, model, priority}
    end
  end
  if redis.call('EXISTS', key('queue', name)) == 0 then redis.call('SREM', key('queues'), name) end
end

for _, urgency in ipairs(URGENCY) do
  for _, name in ipairs(names) do
    local priority, model = string.match(name, '^(%a+):(.*)$')
    if priority == urgency then ring(name, priority, model) end
  end
end
return due
