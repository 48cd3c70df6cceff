-- Deliveries that are due, leased to the caller: if it dies, they come again. Lanes have their turn,
-- but for those of which the caller has enough.
local limit, lease_s, token = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local full = {}
for i = 4, #ARGV do full[ARGV[i]] = true end
local at, taken = now(), {}
local lanes = redis.call('ZRANGEBYSCORE', key('deliveries'), '-inf', text(at), 'LIMIT', 0, limit)
local share = math.ceil(limit / math.max(1, #lanes))

local function take(name, members, delivery)
  local record = key('delivery', delivery)
  local of = redis.call('HMGET', record, 'tenant', 'url', 'probe')
  if not of[1] then
    redis.call('ZREM', members, delivery)
    return
  end
  redis.call('ZADD', members, text(at + lease_s), delivery)
  redis.call('HSET', record, 'token', token)
  local disabled = not of[3] and redis.call('HGET', endpoint(of[1], of[2]), 'disabled_for')
  taken[#taken + 1] = {
    delivery, redis.call('HGETALL', record), name, redis.call('GET', record .. ':job'), disabled,
  }
end

for _, name in ipairs(lanes) do
  local members = key('lane', name)
  local room = math.min(share, limit - #taken)
  if room > 0 then
    if full[name] then room = 0 end
    local due = redis.call('ZRANGEBYSCORE', members, '-inf', text(at), 'LIMIT', 0, room)
    for _, delivery in ipairs(due) do take(name, members, delivery) end
    local first = redis.call('ZRANGE', members, 0, 0, 'WITHSCORES')[2]
    if first then  -- behind the lanes that still wait for their turn
      redis.call('ZADD', key('deliveries'), text(math.max(at, tonumber(first))), name)
    else
      redis.call('ZREM', key('deliveries'), name)
    end
  end
end
return taken
