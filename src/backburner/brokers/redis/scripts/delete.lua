-- Delete jobs that do not run.
-- given  ids
-- reply  ids of those that were deleted
-- {job}
-- {counts}
-- {wakes}
-- {line}
-- {remove}
-- {bury}
local gone = {}
for _, id in ipairs(given) do
    local head, s, listeners, damaged = read(id)
    if damaged then
        bury(id)
        head, s, listeners = read(id)
    end
    if s and s[STATE] ~= 'running' then
        remove(id, head, s, listeners)
        gone[#gone + 1] = id
    end
end
write_counts()
return gone
