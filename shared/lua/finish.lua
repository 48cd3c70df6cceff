-- running -> terminal. A cancel that was accepted before wins over whatever the run became.
local id, token, status, outcome = unpack(ARGV)
local job = load(id)
if not job or job.token ~= token then return 0 end
if job.status ~= 'running' then return 1 end  -- by this very run: the answer was lost
if job.cancel then status, outcome = 'canceled', '{}' end
settle(job, status, outcome)
redis.call('HSET', key('job', id), 'token', token)  -- whose result it is
return 1
