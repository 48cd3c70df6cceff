-- Whether one more job of this tenant would be taken now.
local tenant, model, priority, max_queued, max_age_s = unpack(ARGV)
local job = {tenant = tenant, model = model, priority = priority}
return too_much(job, tonumber(max_queued), tonumber(max_age_s)) and 0 or 1
