-- A tenant's deliveries that were given up, before a place (time and id), newest first.
local tenant, until_at, until_id, limit = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local dead, found = key('tenant', tenant, 'dead'), {}
local scan = limit + 100
local places = redis.call('ZREVRANGEBYSCORE', dead, until_at, '-inf', 'WITHSCORES', 'LIMIT', 0, scan)
for i = 1, #places, 2 do
  local id, at = places[i], places[i + 1]
  -- Letters of the same microsecond are in the order of their ids.
  if until_id == '' or tonumber(at) < tonumber(until_at) or id < until_id then
    local seen = letter(id)
    if seen then
      found[#found + 1] = seen
      if #found == limit then return {found, at, id} end
    else
      redis.call('ZREM', dead, id)  -- its time to be kept is over
    end
  end
end
if #places < 2 * scan then return {found} end
return {found, places[#places], places[#places - 1]}
