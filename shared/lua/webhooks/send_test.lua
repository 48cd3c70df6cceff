-- A webhook that tells of no job. Even a disabled endpoint gets it.
local id, event_id, event, tenant, url = unpack(ARGV)
if redis.call('EXISTS', key('delivery', id)) == 0 then  -- else: the answer was lost
  new_delivery(id, event, tenant, url, now(), 'event_id', event_id, 'probe', 1)
end
return letter(id)
