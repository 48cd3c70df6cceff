-- The workers heard of lately, latest first.
local since = '(' .. text(now() - tonumber(ARGV[1]))
return redis.call('ZREVRANGEBYSCORE', key('workers'), '+inf', since)
