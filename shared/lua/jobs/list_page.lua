-- Lists the jobs of a tenant that match a filter, newest first, from a position (creation time and id).
--
-- Arguments:
--   tenant: text
--   until_at: text      position: a time, or +inf
--   until_id: text?     position: an id; none: from the newest job
--   status: text?       filter
--   model: text?        filter
--   limit: number       jobs on the page
--   scan: number        records that are read at most
-- Returns: pairs of an id and a view; then, unless this is the end, the position behind the page
local jobs = key('tenant', tenant, 'jobs')
local places = redis.call('ZREVRANGEBYSCORE', jobs, until_at, '-inf', 'WITHSCORES', 'LIMIT', 0, scan)
local found = {}
for i = 1, #places, 2 do
  local id, at = places[i], places[i + 1]
  -- Jobs of the same microsecond are in the order of their ids.
  if not until_id or tonumber(at) < tonumber(until_at) or id < until_id then
    local has = redis.call('HMGET', key('job', id), 'status', 'model')
    if (not status or status == has[1]) and (not model or model == has[2]) then
      found[#found + 1] = {id, job_view(id)}
      if #found == limit then
        local last = redis.call('ZRANGE', jobs, 0, 0)[1] == id
        if last then return {found} end
        return {found, at, id}
      end
    end
  end
end
if #places < 2 * scan then return {found} end
return {found, places[#places], places[#places - 1]}
