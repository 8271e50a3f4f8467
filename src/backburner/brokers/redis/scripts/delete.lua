-- Delete jobs that do not run.
-- given  ids
-- reply  ids of those that were deleted
-- {job}
-- {counts}
-- {wakes}
-- {line}
-- {remove}
local gone = {}
for _, id in ipairs(given) do
    local head, s, listeners = read(id)
    if s and s[STATE] ~= 'running' then
        remove(id, head, s, listeners)
        gone[#gone + 1] = id
    end
end
write_counts()
return gone
