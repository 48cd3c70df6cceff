-- The record of an API key, whether there are keys at all, and one request of the key's quota: counted
-- only for who has the key, so that nobody else can use it up.
local id, digest, quota, window_s = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])

-- The bucket holds `quota` requests and fills evenly in `window_s`; kept is only the time at which it
-- will be full again. Answers how many are left, in how many seconds it is full and, if refused, in
-- how many the next request fits.
local function count()
  local bucket = key('rate', id)
  local at, each = now(), window_s / quota
  local full = math.max(at, tonumber(redis.call('GET', bucket) or '0'))
  local after = full + each
  if after > at + window_s + 0.000001 then
    return {0, text(full - at), text(after - at - window_s)}
  end
  -- A full memory refuses the note; the request may well be one that needs none.
  redis.pcall('SET', bucket, text(after), 'PX', math.ceil((after - at) * 1000))
  return {math.floor((at + window_s - after) / each + 0.000001), text(after - at)}
end

local record = key('key', id)
local known = redis.call('HMGET', record, 'digest', 'revoked')
local counted = {}
if quota > 0 and known[1] == digest and not known[2] then counted = count() end
return {redis.call('EXISTS', key('keys')), redis.call('HGETALL', record), counted}
