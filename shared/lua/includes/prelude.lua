-- Common to the scripts, as are waiting.lua, outbox.lua and states.lua: names and the record. Each gets
-- what it uses (shared/redis/script_includes.py).
-- Times are Unix seconds by Redis' own clock, the only one that counts. Keys are made here, not passed
-- in: the scripts need a primary, not a cluster.

local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local function text(seconds)
  return string.format('%.6f', seconds)
end

-- Spelled out for one to four parts: a table to join for each key of each call is what costs most.
local function key(a, b, c, d)
  if not b then return 'fm:' .. a end
  if not c then return 'fm:' .. a .. ':' .. b end
  if not d then return 'fm:' .. a .. ':' .. b .. ':' .. c end
  return 'fm:' .. a .. ':' .. b .. ':' .. c .. ':' .. d
end

-- A job is three keys: a hash of small fields (kept compact by Redis as long as none is longer
-- than 64 bytes), what was asked for (`spec`, JSON) and how it ended (`outcome`, JSON).
local function view(id)
  local record = key('job', id)
  return {
    redis.call('HGETALL', record),
    redis.call('GET', record .. ':spec'),
    redis.call('GET', record .. ':outcome'),
  }
end

-- What the scripts need to know of a job, false for what it has not; nil if there is none.
local function load(id)
  local has = redis.call('HMGET', key('job', id), 'tenant', 'status', 'model', 'priority', 'created_at',
    'deadline', 'ttl_s', 'token', 'cancel', 'start_before', 'retried_at', 'retry', 'spent_crash',
    'attempt', 'starts', 'generation')
  if not has[1] then return nil end
  return {
    id = id, tenant = has[1], status = has[2], model = has[3], priority = has[4], created_at = has[5],
    deadline = has[6], ttl_s = has[7], token = has[8], cancel = has[9], start_before = has[10],
    retried_at = has[11], retry = has[12], spent_crash = has[13],
    attempt = tonumber(has[14] or '0'), starts = tonumber(has[15] or '0'),
    generation = tonumber(has[16] or '1'), since = has[11] or has[5],
  }
end

local function spec_of(job)
  return cjson.decode(redis.call('GET', key('job', job.id, 'spec')))
end

-- Most jobs have no webhook, which can be seen without reading the whole: it comes last (NewJob.spec).
local function webhook_of(spec)
  if string.sub(spec, -15) == '"webhook":null}' then return cjson.null end
  return cjson.decode(spec).webhook
end

-- The job if it runs under this token, else nil: the fence.
local function owned(id, token)
  local job = load(id)
  if job and job.status == 'running' and job.token == token then return job end
  return nil
end

-- What the API key that asked for a job has used; shared/tenants/usage.py reads it.
local function count_use(key_id, counts)
  for field, number in pairs(counts) do
    if number ~= 0 then redis.call('HINCRBY', key('usage', key_id), field, number) end
  end
end

-- Ids in an index whose time has come. One without a record (somebody deleted it by hand) is
-- dropped: it must not stop those behind it.
local function come(index, at, limit)
  local ids = {}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', text(at), 'LIMIT', 0, limit)) do
    if redis.call('EXISTS', key('job', id)) == 1 then
      ids[#ids + 1] = id
    else
      redis.call('ZREM', index, id)
    end
  end
  return ids
end

