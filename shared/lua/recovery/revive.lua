-- Makes the record of a job again from its manifest, in its own time; nobody asks for the quota, for the
-- job was accepted. With `outcome` a run of it had succeeded under `token`: then it ends at once.
local id, tenant, model, priority, spec = unpack(ARGV, 1, 5)
local start_before, deadline_s, ttl_s, age_s, generation = unpack(ARGV, 6, 10)
local reservation, fingerprint, token, outcome, dry_run = unpack(ARGV, 11, 15)

local job = load(id)
if job then
  if job.generation < tonumber(generation) then return 'older' end
  return 'known'
end
if redis.call('EXISTS', key('gone', id)) == 1 then return 'erased' end
-- Who has the key now, if that is another job. A key is remembered for a day: of two jobs that were asked
-- for in one day the first was never answered for; a retry was, whatever became of its key.
local day, other = 86400, nil
if reservation ~= '' then
  local held = redis.call('HGET', reservation, 'job')
  other = held and held ~= id and load(held)
  local apart_s = other and other.created_at - (now() - tonumber(age_s))
  if other and generation == '1' and apart_s < day then return 'superseded' end
end
local became = outcome ~= '' and 'succeeded' or 'queued'
if dry_run == '1' then return became end

if reservation ~= '' and not other and tonumber(age_s) < day then
  redis.call('HSET', reservation, 'fingerprint', fingerprint, 'job', id)
  redis.call('HDEL', reservation, 'call')
  redis.call('EXPIRE', reservation, math.ceil(day - tonumber(age_s)))
end
local record = key('job', id)
job = {id = id, tenant = tenant, model = model, priority = priority}
record_job(job, now() - tonumber(age_s), spec, start_before, deadline_s, ttl_s)
if tonumber(generation) > 1 then redis.call('HSET', record, 'generation', generation) end
job = load(id)
count_use(spec_of(job).key_id, {created = 1})
enqueue(job, 0, 0)
if became == 'succeeded' then
  redis.call('HSET', record, 'attempt', 1, 'started_at', text(now()))
  move(job, 'running')
  settle(job, became, outcome, 0)
  redis.call('HSET', record, 'token', token)
end
return became
