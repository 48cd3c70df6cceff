-- The worker gives the job back.
local id, token, reason, budget, max_starts, delay_s, problem, exhausted = unpack(ARGV)
local job = owned(id, token)
if not job then return false end
return requeue(job, reason, budget, max_starts, delay_s, problem, exhausted)
