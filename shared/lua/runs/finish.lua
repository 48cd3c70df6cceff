-- Ends a run, and with it the job. A cancel that was accepted before wins over the outcome of the run.
--
-- Arguments:
--   id: text
--   token: text
--   status: text
--   outcome: text      JSON
--   faces: number      restored faces
--   busy_ms: number    time in a place of a device
--   cached: flag       the result is a copy of that of an equal job
-- Returns: 1 if the job has ended by this run, 0 if the run is fenced
local job = load_job(id)
if not job or job.token ~= token then return 0 end
if job.status ~= 'running' then return 1 end  -- ended by this run: the response was lost
local work = not cached and {faces = faces, busy_ms = busy_ms} or nil
if job.cancel then
  status, outcome, work = 'canceled', cjson.encode({timings_ms = cjson.decode(outcome).timings_ms}), nil
end
end_job(job, status, outcome, work)
redis.call('HSET', key('job', id), 'token', token)  -- shows whose result it is
return 1
