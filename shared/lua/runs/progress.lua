-- Writes down the progress of a run.
--
-- Arguments:
--   id: text
--   token: text
--   progress: text    JSON
-- Returns: a value of shared.jobs.runs.Beat
local job = load_run(id, token)
if not job then return 'fenced' end
redis.call('HSET', key('job', id), 'progress', progress)
redis.call('HINCRBY', key('job', id), 'version', 1)
return job.cancel and 'cancel' or 'go-on'
