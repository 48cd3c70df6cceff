-- A tenant's jobs before a place (creation time and id), newest first, that match a filter.
-- Looks at a bounded number of records and says where it stopped; no place: the end.
local tenant, until_at, until_id, status, model, limit, scan = unpack(ARGV)
local jobs = key('tenant', tenant, 'jobs')
local places = redis.call('ZREVRANGEBYSCORE', jobs, until_at, '-inf', 'WITHSCORES', 'LIMIT', 0, scan)
local found = {}
for i = 1, #places, 2 do
  local id, at = places[i], places[i + 1]
  -- Jobs of the same microsecond are in the order of their ids.
  if until_id == '' or tonumber(at) < tonumber(until_at) or id < until_id then
    local has = redis.call('HMGET', key('job', id), 'status', 'model')
    if (status == '' or status == has[1]) and (model == '' or model == has[2]) then
      found[#found + 1] = {id, view(id)}
      if #found == tonumber(limit) then
        local last = redis.call('ZRANGE', jobs, 0, 0)[1] == id
        if last then return {found} end
        return {found, at, id}
      end
    end
  end
end
if #places < 2 * tonumber(scan) then return {found} end
return {found, places[#places], places[#places - 1]}
