-- Lets one notifier at a time export the gauges of the whole service, so that their sum over all notifiers
-- is right.
--
-- Arguments:
--   holder: text       names the notifier
--   lease_s: number    seconds until another one may export; 0: give the lease back
-- Returns: 1 if the notifier has the lease now, else 0
local lease = key('export')
local held = redis.call('GET', lease)
if held and held ~= holder then return 0 end
if lease_s == 0 then
  redis.call('DEL', lease)
  return 0
end
redis.call('SET', lease, holder, 'PX', math.ceil(1000 * lease_s))
return 1
