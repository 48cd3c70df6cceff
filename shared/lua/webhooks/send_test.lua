-- Creates the delivery of a test event, which belongs to no job. It is sent even to a disabled endpoint.
--
-- Arguments:
--   id: text
--   event_id: text
--   event: text
--   tenant: text
--   url: text
-- Returns: the delivery
if redis.call('EXISTS', key('delivery', id)) == 0 then  -- else the response was lost
  create_delivery(id, event, tenant, url, now(), 'event_id', event_id, 'probe', 1)
end
return delivery_view(id)
