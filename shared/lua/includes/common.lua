-- Functions that the scripts share: time, names of keys, and the record of a job. Like fair_queue.lua,
-- outbox.lua and transitions.lua it is an include: a script gets only the functions that it uses
-- (shared/redis/scripts.py).
--
-- Times are Unix seconds by the clock of Redis, the only clock that counts. The scripts make the names of
-- keys themselves and do not declare them, so they need one primary, not a cluster.

-- Returns the time of Redis as a number.
local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

-- Returns a time as it is stored: text with microseconds.
local function timestamp(seconds)
  return string.format('%.6f', seconds)
end

-- Returns the name of a key: 'fm:' and one to four parts. Each number of parts has a line of its own,
-- because building and joining a table for each key would be the largest cost of a script.
local function key(a, b, c, d)
  if not b then return 'fm:' .. a end
  if not c then return 'fm:' .. a .. ':' .. b end
  if not d then return 'fm:' .. a .. ':' .. b .. ':' .. c end
  return 'fm:' .. a .. ':' .. b .. ':' .. c .. ':' .. d
end

-- Returns the name of a model in a pool, which queues and numbers of workers have. `pool`: nil or false for
-- the default pool, whose names are those of versions without pools. shared/jobs/pools.py has the same names.
local function in_pool(model, pool)
  return pool and model .. '@' .. pool or model
end

-- Returns the stored record of a job. It is three keys: a hash of small fields (Redis stores it compactly
-- as long as no field is longer than 64 bytes), the request (`spec`, JSON), and the end (`outcome`, JSON).
local function job_view(id)
  local record = key('job', id)
  return {
    redis.call('HGETALL', record),
    redis.call('GET', record .. ':spec'),
    redis.call('GET', record .. ':outcome'),
  }
end

-- Returns the fields of a job that the scripts need, or nil if there is no such job. A field that is not
-- set is false, as `pool` of a job in the default pool. `since` is when the job joined its queue: when it was created or last retried.
local function load_job(id)
  local has = redis.call('HMGET', key('job', id), 'tenant', 'status', 'model', 'priority', 'created_at',
    'deadline', 'ttl_s', 'token', 'cancel', 'start_before', 'retried_at', 'retry', 'spent_crash',
    'attempt', 'starts', 'generation', 'kind', 'batch', 'content', 'pool')
  if not has[1] then return nil end
  return {
    id = id, tenant = has[1], status = has[2], model = has[3], priority = has[4], created_at = has[5],
    deadline = has[6], ttl_s = has[7], token = has[8], cancel = has[9], start_before = has[10],
    retried_at = has[11], retry = has[12], spent_crash = has[13],
    attempt = tonumber(has[14] or '0'), starts = tonumber(has[15] or '0'),
    generation = tonumber(has[16] or '1'), since = has[11] or has[5],
    kind = has[17] or 'restoration', batch = has[18], content = has[19], pool = has[20],
  }
end

local function job_spec(job)
  return cjson.decode(redis.call('GET', key('job', job.id, 'spec')))
end

-- Returns the webhook of a spec, or cjson.null. Most jobs have none, and the end of the text shows that:
-- `webhook` is the last field (NewJob.spec).
local function webhook_in(spec)
  if string.sub(spec, -15) == '"webhook":null}' then return cjson.null end
  return cjson.decode(spec).webhook
end

-- Returns the job if it runs under this token, else nil. A worker that lost its lease has an old token, so
-- it can change nothing.
local function load_run(id, token)
  local job = load_job(id)
  if job and job.status == 'running' and job.token == token then return job end
  return nil
end

-- Takes jobs from the number that a token (a short-lived API key) may still create. Returns whether they
-- were left. `token_id`: nil for a key without such a limit.
local function spend_jobs(token_id, jobs)
  if not token_id then return true end
  local record = key('key', token_id)
  local left = tonumber(redis.call('HGET', record, 'jobs_left') or '0')  -- 0: it has just ended
  if left < jobs then return false end
  redis.call('HINCRBY', record, 'jobs_left', -jobs)
  return true
end

-- Adds to the usage of an API key, which shared/tenants/usage.py reads. `counts`: numbers by field.
local function count_usage(key_id, counts)
  for field, number in pairs(counts) do
    if number ~= 0 then redis.call('HINCRBY', key('usage', key_id), field, number) end
  end
end

-- Counts the work of a job that succeeded, for the means of a job of its model in its pool (jobs/read.lua).
-- Only the last few hundred jobs make a difference: at 1,000 all numbers are halved.
local function count_work(job, work)
  local sums = key('work', in_pool(job.model, job.pool))
  local faces = redis.call('HINCRBY', sums, 'faces', work.faces)
  local busy_ms = redis.call('HINCRBY', sums, 'busy_ms', work.busy_ms)
  if redis.call('HINCRBY', sums, 'jobs', 1) < 1000 then return end
  redis.call('HSET', sums, 'jobs', 500, 'faces', math.floor(faces / 2), 'busy_ms', math.floor(busy_ms / 2))
end

-- Returns the ids in an index of times that are due at `at`, at most `limit`. An id without a record (its
-- key was deleted by hand) leaves the index, so that it does not block the ids behind it.
local function due_ids(index, at, limit)
  local ids = {}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', timestamp(at), 'LIMIT', 0, limit)) do
    if redis.call('EXISTS', key('job', id)) == 1 then
      ids[#ids + 1] = id
    else
      redis.call('ZREM', index, id)
    end
  end
  return ids
end

