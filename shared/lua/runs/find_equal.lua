-- Looks for the result of an equal job, for a run that has read its photo. If an equal job runs now, this
-- run ends and its job waits in the queue for that one. A job waits only once: then it runs itself.
--
-- Arguments:
--   id: text
--   token: text
--   content: text     digest of all that decides the result
--   without: text?    id of a job whose result is found to be gone
--   may_wait: flag    whether the job waits if an equal one runs
-- Returns: the id and the view of the job with the result; 'run' if there is none; 'busy' if the job would
--   wait, 'wait' if it does; 'fenced'
local job = load_run(id, token)
if not job then return 'fenced' end
local record, result = key('job', id), key('result', job.tenant, content)
redis.call('HSET', record, 'content', content)
job.content = content

local found = redis.call('GET', result)
if found and found == without then
  redis.call('DEL', result)
  found = nil
end
local other = found and load_job(found)
if other and other.status == 'succeeded' and other.tenant == job.tenant and other.content == content then
  return {found, job_view(found)}
end

local maker = maker_of(job.tenant, content)
if not maker or maker.id == id then
  redis.call('SET', key('maker', job.tenant, content), id)
  return 'run'
end
if job.cancel or redis.call('HGET', record, 'waited') then return 'run' end
if not may_wait then return 'busy' end
change_state(job, 'queued')
redis.call('HSET', record, 'content', content, 'waited', 1)
enqueue(job, EQUAL_WAIT_S, 0)
redis.call('ZADD', key('waiting', job.tenant, content), job.since, id)
return 'wait'
