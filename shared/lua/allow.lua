-- May this key ask once more? The bucket holds `quota` requests and fills evenly in `window_s`; kept
-- is only the time at which it will be full again. Answers how many are left, in how many seconds
-- it is full and, if refused, in how many the next request fits.
local id, quota, window_s = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
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
