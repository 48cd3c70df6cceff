-- Checks whether the quota of a tenant allows one more job.
--
-- Arguments:
--   tenant: text
--   model: text
--   priority: text
--   pool: text?           none: the default pool
--   max_queued: number    quota: jobs of the tenant that may wait
--   max_age_s: number     quota: how long one of them may have waited; 0: no limit
-- Returns: 1 or 0
local job = {tenant = tenant, model = model, priority = priority, pool = pool}
return over_quota(job, max_queued, max_age_s) and 0 or 1
