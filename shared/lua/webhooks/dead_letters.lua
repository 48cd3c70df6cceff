-- Lists the dead letters of a tenant, newest first, from a position (time and id).
--
-- Arguments:
--   tenant: text
--   until_at: text     position: a time, or +inf
--   until_id: text?    position: an id; none: from the newest one
--   limit: number
-- Returns: deliveries; then, unless this is the end, the position behind the page
local dead, found = key('tenant', tenant, 'dead'), {}
local scan = limit + 100
local places = redis.call('ZREVRANGEBYSCORE', dead, until_at, '-inf', 'WITHSCORES', 'LIMIT', 0, scan)
for i = 1, #places, 2 do
  local id, at = places[i], places[i + 1]
  -- Dead letters of the same microsecond are in the order of their ids.
  if not until_id or tonumber(at) < tonumber(until_at) or id < until_id then
    local view = delivery_view(id)
    if view then
      found[#found + 1] = view
      if #found == limit then return {found, at, id} end
    else
      redis.call('ZREM', dead, id)  -- it has expired
    end
  end
end
if #places < 2 * scan then return {found} end
return {found, places[#places], places[#places - 1]}
