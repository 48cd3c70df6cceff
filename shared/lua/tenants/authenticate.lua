-- Reads an API key and counts one request against its rate limit. The request counts only if the digest is
-- right, so that nobody without the key can use its limit up.
--
-- Arguments:
--   id: text
--   digest: text        of the whole key that the client sent
--   quota: number       requests in a window; 0: no limit
--   window_s: number
-- Returns: whether there are keys at all; the fields of the key, and as `pin` and `moving` the pool and the move of its tenant; requests that are left, seconds until all
--   are available again and, if this one is refused, seconds until the next one is allowed (all three only
--   if it was counted)

-- The bucket holds `quota` requests and fills evenly in `window_s`. Redis stores only the time at which it
-- will be full.
local function count()
  local bucket = key('rate', id)
  local at, each = now(), window_s / quota
  local full = math.max(at, tonumber(redis.call('GET', bucket) or '0'))
  local after = full + each
  if after > at + window_s + 0.000001 then
    return {0, timestamp(full - at), timestamp(after - at - window_s)}
  end
  -- Redis with a full memory refuses this write, and the request may be one that needs none.
  redis.pcall('SET', bucket, timestamp(after), 'PX', math.ceil((after - at) * 1000))
  return {math.floor((at + window_s - after) / each + 0.000001), timestamp(after - at)}
end

local record = key('key', id)
local known = redis.call('HMGET', record, 'digest', 'revoked', 'parent', 'tenant')
local fields, counted = redis.call('HGETALL', record), {}
if known[3] and redis.call('HEXISTS', key('key', known[3]), 'revoked') == 1 then  -- it ends with its parent
  known[2] = '1'
  fields[#fields + 1], fields[#fields + 2] = 'revoked', '1'
end
local pin = known[4] and redis.call('HGET', key('pins'), known[4])
local moving = known[4] and redis.call('HGET', key('moving'), known[4])
if moving then fields[#fields + 1], fields[#fields + 2] = 'moving', moving end
if pin then fields[#fields + 1], fields[#fields + 2] = 'pin', pin end
if quota > 0 and known[1] == digest and not known[2] then counted = count() end
return {redis.call('EXISTS', key('keys')), fields, counted}
