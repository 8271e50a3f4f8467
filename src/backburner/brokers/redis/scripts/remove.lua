-- Delete a job that does not run, and everything about it. Who waits for it learns that it is gone.
local function remove(id, head, s, listeners)
    if s[STATE] == 'dead' then
        call('ZREM', base .. 'dead:' .. head[QUEUE], member(s, id))
    elseif not FINAL[s[STATE]] then
        leave(head, s, id)
    end
    if s[PRUNE] then
        call('ZREM', base .. 'finished', member(s, id))
    end
    if head[KEY] and call('GET', base .. 'key:' .. head[KEY]) == id then
        call('DEL', base .. 'key:' .. head[KEY])
    end
    count(head, s[STATE], -1)
    wake_job(id, listeners)
    call('ZREM', base .. 'arrival', id)
    call('UNLINK', jobs .. id, base .. 'history:' .. id)
end

-- Delete up to `limit` final jobs whose retention had passed by `before`; how many it were.
local function prune(before, limit)
    local found = call('ZRANGEBYSCORE', base .. 'finished', '-inf', before, 'LIMIT', 0, limit)
    for _, place in ipairs(found) do
        local id = id_of(place)
        local head, s, listeners = read(id)
        if s then
            remove(id, head, s, listeners)
        else
            call('ZREM', base .. 'finished', place)
        end
    end
    return #found
end
