-- Ends a run, and with it the job. A cancel that was accepted before wins over the outcome of the run.
--
-- Arguments:
--   id: text
--   token: text
--   status: text
--   outcome: text    JSON
--   faces: number    restored faces, for the usage
-- Returns: 1 if the job has ended by this run, 0 if the run is fenced
local job = load_job(id)
if not job or job.token ~= token then return 0 end
if job.status ~= 'running' then return 1 end  -- ended by this run: the response was lost
if job.cancel then
  status, outcome, faces = 'canceled', cjson.encode({timings_ms = cjson.decode(outcome).timings_ms}), 0
end
end_job(job, status, outcome, faces)
redis.call('HSET', key('job', id), 'token', token)  -- shows whose result it is
return 1
