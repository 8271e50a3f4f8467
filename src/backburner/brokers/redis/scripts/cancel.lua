-- Cancel what waits, and ask for what runs to be stopped.
-- given  [ids, reason, seconds to keep them]
-- reply  ids of those that were not final
-- {job}
-- {counts}
-- {wakes}
-- {line}
local reason, keep, touched, workers = given[2], given[3], {}, {}
for _, id in ipairs(given[1]) do
    local head, s, listeners = read(id)
    if s and not FINAL[s[STATE]] then
        touched[#touched + 1] = id
        if s[STATE] == 'running' then
            s[CANCEL], s[REASON] = true, reason
            write(id, s)
            call('HSET', base .. 'cancels', id, s[WORKER] .. '\0' .. reason)
            workers[s[WORKER]] = true
        else
            drop(head, s, id, reason, keep, listeners)
        end
    end
end
for worker in pairs(workers) do
    tell('worker:' .. worker)
end
write_counts()
return touched
