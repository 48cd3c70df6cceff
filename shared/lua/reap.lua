-- Jobs whose worker went silent go back into the queue; jobs past their deadline fail.
local limit, budget, max_starts, lost, late = unpack(ARGV)
local at, reaped = text(now()), {}

local function over(index)
  return redis.call('ZRANGEBYSCORE', key(index), '-inf', at, 'LIMIT', 0, limit)
end

for _, id in ipairs(over('deadlines')) do
  local job = load(id)
  settle(job, job.cancel and 'canceled' or 'failed', '{"error":' .. late .. '}')
  reaped[#reaped + 1] = {id, job.status}
end
for _, id in ipairs(over('leases')) do
  reaped[#reaped + 1] = {id, requeue(load(id), 'lost', budget, max_starts, 0, lost)}
end
return reaped
