-- What the workers heard of lately serve, latest word first.
local found = {}
local since = text(now() - tonumber(ARGV[1]))
for _, worker in ipairs(redis.call('ZREVRANGEBYSCORE', key('workers'), '+inf', '(' .. since)) do
  found[#found + 1] = redis.call('HGET', key('workers', 'models'), worker)
end
return found
