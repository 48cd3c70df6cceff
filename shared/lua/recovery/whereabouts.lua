-- What the records know of these jobs, all read at one moment: state, generation, token, whether erased.
-- Only if this is the Redis that the asker means: a new, empty one would call every job unknown.
if redis.call('GET', key('installation')) ~= ARGV[1] then return false end
local found = {}
for i = 2, #ARGV do
  local values = redis.call('HMGET', key('job', ARGV[i]), 'status', 'generation', 'token')
  local erased = not values[1] and redis.call('EXISTS', key('gone', ARGV[i])) or 0
  found[#found + 1] = {values[1] or '', values[2] or '1', values[3] or '', erased}
end
return found
