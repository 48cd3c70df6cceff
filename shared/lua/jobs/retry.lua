-- failed or canceled -> queued: the same job once more, as if it were new.
local id, tenant, deadline_s, max_queued, max_age_s = unpack(ARGV, 1, 5)
local call, generation, bell, max_bells = unpack(ARGV, 6, 9)
local job = load(id)
if not job or job.tenant ~= tenant then return false end
if job.retry == call then return view(id) end  -- the answer was lost
if generation ~= '' and job.generation ~= tonumber(generation) then return 'retried' end
if not NEXT[job.status].queued or job.status == 'running' then return job.status end
-- Past its time its objects may be going this moment.
local expires = redis.call('ZSCORE', key('expiry'), id)
if expires and tonumber(expires) <= now() then return 'expired' end
if too_much(job, tonumber(max_queued), tonumber(max_age_s)) then return 'full' end

local record, at = key('job', id), now()
local deadline = text(at + math.min(tonumber(deadline_s), tonumber(job.start_before or deadline_s)))
freeze_deliveries(id)
move(job, 'queued')
redis.call('DEL', record .. ':outcome')
redis.call('HDEL', record, 'attempt', 'token', 'started_at', 'finished_at', 'expires_at')
redis.call('HSET', record, 'generation', job.generation + 1, 'retried_at', text(at),
  'deadline', deadline, 'retry', call)
redis.call('ZADD', key('deadlines'), deadline, id)
job.since = text(at)
enqueue(job, 0, 1)
ring_at_once(job, bell, max_bells)
return view(id)
