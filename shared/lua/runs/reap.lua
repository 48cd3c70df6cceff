-- Jobs whose worker went silent go back into the queue; jobs past their deadline fail.
local limit, budget, max_starts, lost, late = unpack(ARGV)
local at, reaped = now(), {}

for _, id in ipairs(come(key('deadlines'), at, limit)) do
  local job = load(id)
  if job.cancel then
    settle(job, 'canceled', '{}')
  else
    fail(job, late)
  end
  reaped[#reaped + 1] = {id, job.status}
end
for _, id in ipairs(come(key('leases'), at, limit)) do
  reaped[#reaped + 1] = {id, requeue(load(id), 'lost', budget, max_starts, 0, lost, lost)}
end
return reaped
