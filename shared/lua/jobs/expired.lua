-- Finished jobs whose time to be kept is over.
local found = {}
for _, id in ipairs(come(key('expiry'), now(), ARGV[1])) do
  found[#found + 1] = {id, view(id)}
end
return found
