-- Move jobs that are due to their queues.
-- given  [how many at most]
-- reply  [how many it were, when the next one is due or nothing]
-- {job}
-- {counts}
-- {wakes}
-- {line}
-- {bury}
local places = call('ZRANGEBYSCORE', base .. 'later', '-inf', exact(now), 'LIMIT', 0, given[1])
for _, place in ipairs(places) do
    local id = id_of(place)
    local head, s, _, damaged = read(id)
    if damaged then
        bury(id)
    elseif s then
        count(head, s[STATE], -1)
        s[STATE] = 'queued'
        count(head, s[STATE], 1)
        write(id, s)
        enter(head, s, id)
    end
end
bulk('ZREM', base .. 'later', places)
write_lines()
write_counts()
count_again()
return {#places, call('ZRANGE', base .. 'later', 0, 0, 'WITHSCORES')[2] or false}
