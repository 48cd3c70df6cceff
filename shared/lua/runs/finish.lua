-- running -> terminal. A cancel that was accepted before wins over whatever the run became.
local id, token, status, outcome, faces = unpack(ARGV)
local job = load(id)
if not job or job.token ~= token then return 0 end
if job.status ~= 'running' then return 1 end  -- by this very run: the answer was lost
if job.cancel then status, outcome, faces = 'canceled', '{}', 0 end
settle(job, status, outcome, tonumber(faces))
redis.call('HSET', key('job', id), 'token', token)  -- whose result it is
return 1
