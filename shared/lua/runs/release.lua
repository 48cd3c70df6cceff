-- Returns a running job to its queue, because its worker gives it back.
--
-- Arguments:
--   id: text
--   token: text
--   reason: text          transient, input, drain, lost or crash
--   budget: number        how often a job may be released for this reason
--   max_starts: number
--   delay_s: number       seconds until it may start again
--   keep_s: number?       seconds for which the job is kept at least if its budget is used up now
--   problem: text         JSON, for a job whose budget is used up
--   exhausted: text       JSON, for a job whose starts are used up
-- Returns: the new state; false if the run is fenced
local job = load_run(id, token)
if not job then return false end
if keep_s and not job.cancel then job.ttl_s = math.max(tonumber(job.ttl_s), keep_s) end
return requeue(job, reason, budget, max_starts, delay_s, problem, exhausted)
