-- If the next fire is the one that was seen: set it, and store the jobs of that one.
-- given  [name, the fire seen, the next one or nothing, id of the last job or nothing, new jobs as in store.lua]
-- reply  [1, the time], or [0] when another was faster
-- {job}
-- {counts}
-- {wakes}
-- {line}
-- {store}
-- {schedule}
local name, seen, next_at, last, new = given[1], given[2], given[3], given[4], given[5]
local s = read_schedule(name)
if not s or s[2] ~= seen then
    return {0}
end
s[2], s[3] = next_at, last or s[3]
write_schedule(name, s)
if #new[2] > 0 then
    store(new, duplicates(new))
    write_lines()
    write_counts()
end
return {1, exact(now)}
