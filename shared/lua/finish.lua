-- running -> terminal. A cancel that was accepted before wins over whatever the run became.
local id, token, status, outcome = unpack(ARGV)
local job = owned(id, token)
if not job then return 0 end
if job.cancel then status, outcome = 'canceled', '{}' end
settle(job, status, outcome)
return 1
