-- Lets one process at a time do a task of the whole service.
--
-- Arguments:
--   task: text
--   holder: text       names the process
--   lease_s: number    seconds until another process may have the task; 0: give it back
-- Returns: 1 if the process has the task now, else 0
local lease = key('leader', task)
local held = redis.call('GET', lease)
if held and held ~= holder then return 0 end
if lease_s == 0 then
  redis.call('DEL', lease)
  return 0
end
redis.call('SET', lease, holder, 'PX', math.ceil(1000 * lease_s))
return 1
