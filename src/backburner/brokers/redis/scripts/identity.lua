-- The store's random name, made if it has none: it goes with everything else when the store is emptied.
-- given  [a new name]
-- reply  the name
-- {begin}
local found = call('GET', base .. 'identity')
if not found then
    found = given[1]
    call('SET', base .. 'identity', found)
end
return found
