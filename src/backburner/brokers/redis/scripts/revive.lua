-- Queue dead and cancelled jobs again, with fresh attempts.
-- given  ids
-- reply  ids of those that were dead or cancelled
-- {job}
-- {counts}
-- {wakes}
-- {line}
local revived = {}
for _, id in ipairs(given) do
    local head, s = read(id)
    if s and (s[STATE] == 'dead' or s[STATE] == 'cancelled') then
        call('ZREM', base .. 'dead:' .. head[QUEUE], member(s, id))
        call('ZREM', base .. 'finished', member(s, id))
        count(head, s[STATE], -1)
        s[STATE], s[RUN], s[ATTEMPT], s[CRASHES] = 'queued', now, 0, 0
        s[REASON], s[FINISHED], s[PRUNE], s[CANCEL], s[EXPIRES] = nil, nil, nil, nil, nil
        count(head, s[STATE], 1)
        write(id, s)
        enter(head, s, id)
        revived[#revived + 1] = id
    end
end
write_lines()
write_counts()
return revived
