-- Store a schedule. An unchanged declaration keeps its next fire: every start of every worker comes through here.
-- given  [name, blob of the schedule, next fire or nothing, whether declared]
-- {begin}
-- {wakes}
-- {schedule}
local name, schedule, next_at, declared = given[1], blob(given[2]), given[3], given[4]
local s = read_schedule(name) or {nil, nil, nil, false}
if s[1] ~= schedule then
    s[2] = next_at
end
s[1], s[5] = schedule, declared
write_schedule(name, s)
tell('stage')
