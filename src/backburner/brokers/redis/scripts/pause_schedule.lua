-- given  [name, whether paused]
-- reply  1, or 0 when there is none of that name
-- {begin}
-- {wakes}
-- {schedule}
local name, paused = given[1], given[2]
local s = read_schedule(name)
if not s then
    return 0
end
s[4] = paused
write_schedule(name, s)
if not paused then
    tell('stage')
end
return 1
