-- given  [the first minute, the last one]; the hashes that exist, `rates:MINUTE`, are in `rates.lua`
-- reply  hashes of the minutes: count or seconds, queue, task and outcome, number …
-- {begin}
local found = {}
for minute = given[1], given[2] do
    local rates = call('HGETALL', base .. 'rates:' .. string.format('%d', minute))
    if #rates > 0 then
        found[#found + 1] = rates
    end
end
return found
