-- Store new jobs. They are given as [heads, rows]; a head is task, queue, priority, key; a row is: id, number of its
-- head, blob of the payload, blob of the options, run_at, delay, expires_at, expires_in.
-- The job that has a row's id or key already is kept.
-- {fresh}
local NEW_ID, NEW_HEAD, NEW_PAYLOAD, NEW_OPTIONS, NEW_RUN, NEW_DELAY, NEW_EXPIRES, NEW_EXPIRES_IN = 1, 2, 3, 4, 5, 6, 7, 8

-- The id of what is kept for each row that is not new, by the row's number.
local function duplicates(new)
    local heads, rows = new[1], new[2]
    local kept, ids, keys, names, any = {}, {}, {}, {}, false
    for i, row in ipairs(rows) do
        names[i] = jobs .. row[NEW_ID]
    end
    for first = 1, #names, 4000 do
        any = call('EXISTS', unpack(names, first, math.min(first + 3999, #names))) > 0 or any
    end
    for i, row in ipairs(rows) do
        local id, key = row[NEW_ID], heads[row[NEW_HEAD]][KEY]
        if ids[id] or (any and call('EXISTS', names[i]) == 1) then
            kept[i] = id
        else
            kept[i] = key and (keys[key] or call('GET', base .. 'key:' .. key)) or nil
        end
        if not kept[i] then
            ids[id] = true
            if key then
                keys[key] = id
            end
        end
    end
    return kept
end

local function due(row)
    if row[NEW_DELAY] then
        return now + math.max(0, row[NEW_DELAY])
    end
    return row[NEW_RUN] == 0 and now or row[NEW_RUN]
end

-- Store those that are not in `kept`; `lived` has what changes of those that have lived elsewhere.
local function store(new, kept, lived)
    local heads, rows, arrivals, packed_heads = new[1], new[2], {}, {}
    local seq = call('INCRBY', base .. 'seq', #rows) - #rows
    -- What changes of a job that is due at once and never expires, but for its seq: not packed value by value.
    local rest = cmsgpack.pack(now, now) .. NEVER_RAN
    for i, head in ipairs(heads) do
        packed_heads[i] = '\148' .. cmsgpack.pack(head[1], head[2], head[3], head[4]) -- an array of 4 (0x94)
    end
    for i, row in ipairs(rows) do
        if not kept[i] then
            local id, head, number = row[NEW_ID], heads[row[NEW_HEAD]], seq + i
            local data
            if row[NEW_RUN] == 0 and not (row[NEW_DELAY] or row[NEW_EXPIRES] or row[NEW_EXPIRES_IN] or lived) then
                data = QUEUED .. cmsgpack.pack(number) .. rest
                count(head, 'queued', 1)
                enter_now(head, number, id)
            else
                local run = due(row)
                local expires = row[NEW_EXPIRES_IN] and now + row[NEW_EXPIRES_IN] or row[NEW_EXPIRES]
                local s = lived and lived[i] or {run > now and 'scheduled' or 'queued', 0, now, run, expires, 0, 0, 0}
                s[SEQ] = number
                data = packed(s)
                count(head, s[STATE], 1)
                if s[STATE] == 'dead' then
                    call('ZADD', base .. 'dead:' .. head[QUEUE], s[FINISHED] or now, member(s, id))
                else
                    enter(head, s, id)
                end
            end
            call('HSET', jobs .. id, 'h', packed_heads[row[NEW_HEAD]], 's', data, 'p', blob(row[NEW_PAYLOAD]))
            if row[NEW_OPTIONS] then
                call('HSET', jobs .. id, 'o', blob(row[NEW_OPTIONS]))
            end
            if head[KEY] then
                call('SET', base .. 'key:' .. head[KEY], id)
            end
            arrivals[#arrivals + 1] = number
            arrivals[#arrivals + 1] = id
        end
    end
    bulk('ZADD', base .. 'arrival', arrivals)
end
