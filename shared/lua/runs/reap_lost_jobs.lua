-- Returns jobs whose lease is over to their queues, and fails jobs that are past their deadline.
--
-- Arguments:
--   limit: number         jobs of each kind at most
--   budget: number        how often a job may lose its worker
--   max_starts: number
--   worker_lost: text     problem, JSON
--   too_late: text        problem, JSON, for a job that is past its deadline
--   never_started: text   problem, JSON, for one that did not start in time
-- Returns: pairs of an id and the new state
local at, reaped = now(), {}

for _, id in ipairs(due_ids(key('deadlines'), at, limit)) do
  local job = load_job(id)
  if job.cancel then
    end_job(job, 'canceled', '{}')
  else
    fail_late_job(job, too_late, never_started)
  end
  reaped[#reaped + 1] = {id, job.status}
end
for _, id in ipairs(due_ids(key('leases'), at, limit)) do
  local status = requeue(load_job(id), 'lost', budget, max_starts, 0, worker_lost, worker_lost)
  reaped[#reaped + 1] = {id, status}
end
return reaped
