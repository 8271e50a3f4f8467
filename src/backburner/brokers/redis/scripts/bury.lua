-- A record that cannot be read is put among the dead, with a reason. What was read of it stays: what was not is moved to
-- the fields `x` (head) and `y` (what changes), for a person to look at. `queue` and `was`: where it was met, and in
-- which state, if that is known. Nobody could name a job whose id is no UTF-8, to delete it or otherwise: it gets another
-- id, which shows those bytes.
local unsure = {}

local function moved(id, head)
    local name = string.gsub(id, '[\128-\255]', function(byte)
        return string.format('\\x%02x', string.byte(byte))
    end)
    for _, kind in ipairs({jobs, base .. 'history:'}) do
        if call('EXISTS', kind .. id) == 1 then
            call('RENAME', kind .. id, kind .. name)
        end
    end
    call('ZREM', base .. 'arrival', id)
    if head and head[KEY] and call('GET', base .. 'key:' .. head[KEY]) == id then
        call('SET', base .. 'key:' .. head[KEY], name)
    end
    return name
end

local function bury(id, queue, was)
    local key = jobs .. id
    if call('TYPE', key).ok ~= 'hash' then
        if call('EXISTS', key) == 0 then
            return
        end
        call('RENAME', key, base .. 'damaged:' .. id)
    end
    local found = call('HMGET', key, 'h', 's', 'w')
    local head, _, trouble = head_of(found[1])
    local s, why = state_of(found[2])
    local seq = tonumber(call('ZSCORE', base .. 'arrival', id) or call('INCR', base .. 'seq'))
    local place = member({[SEQ] = seq}, id)
    if call('ZREM', base .. 'later', place) == 1 and head then
        local field = 'scheduled\0' .. head[QUEUE] .. '\0' .. head[TASK]
        was = call('HEXISTS', base .. 'counts', field) == 1 and 'scheduled' or 'retrying'
    elseif head and call('ZREM', line_of(head[QUEUE], head[PRIORITY]), place) == 1 then
        was = 'queued'
        close_line(head[QUEUE], head[PRIORITY])
    end
    local what = 'what changes of it: '
    local name = is_text(id) and id or moved(id, head)
    if head and s then
        what, why = 'its id: ', 'it was no UTF-8'
    end
    key, place = jobs .. name, member({[SEQ] = seq}, name)
    call('ZADD', base .. 'arrival', exact(seq), name)
    if not head then
        head, what = {'unreadable', queue or 'default', 0}, 'its head: '
        call('HSET', key, 'x', found[1] or '', 'h', '\148' .. cmsgpack.pack(head[1], head[2], head[3], nil))
        unsure[head[QUEUE]] = true
    else
        trouble = why
        if was then
            count(head, was, -1)
        end
    end
    if not s then
        call('HSET', key, 'y', found[2] or '')
    end
    trouble = string.gsub(string.sub(tostring(trouble or 'it is missing'), 1, 200), '[^ -~]', '?')
    s = {'dead', seq, now, now, nil, 0, 0, 0, nil, nil, now, nil, nil,
        'quarantined: what is stored of it cannot be read (' .. what .. trouble
            .. '); delete it and enqueue it again, or mend the record and retry it'}
    write(name, s)
    if not call('HGET', key, 'p') then
        call('HSET', key, 'p', '[]')
    end
    call('ZADD', base .. 'dead:' .. head[QUEUE], now, place)
    count(head, 'dead', 1)
    wake_job(id, found[3])
end

-- Which task it counted for is not known of a damaged head: where nothing waits in its queue, nothing is counted.
local function count_again()
    for queue in pairs(unsure) do
        if call('EXISTS', base .. 'priorities:' .. queue) == 0 then
            for _, field in ipairs(call('HKEYS', base .. 'counts')) do
                if string.sub(field, 1, #queue + 8) == 'queued\0' .. queue .. '\0' then
                    call('HDEL', base .. 'counts', field)
                end
            end
        end
    end
end
