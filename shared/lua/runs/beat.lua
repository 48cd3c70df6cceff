-- Renews the lease of a run.
--
-- Arguments:
--   id: text
--   token: text
--   lease_s: number    seconds until the lease ends
-- Returns: a value of shared.jobs.runs.Beat
local job = load_run(id, token)
if not job then return 'fenced' end
redis.call('ZADD', key('leases'), timestamp(now() + lease_s), id)
return job.cancel and 'cancel' or 'go-on'
