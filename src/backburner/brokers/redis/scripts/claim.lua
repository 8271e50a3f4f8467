-- Claim jobs for a worker. What it has no room for is looked past, but not for ever; what cannot be read is buried.
local LOOKED_PAST = 1000

-- The first jobs of one line, taken out of it.
local function take(queue, priority, limit)
    local found = call('ZPOPMIN', line_of(queue, priority), limit)
    local ids = {}
    for i = 1, #found, 2 do
        ids[#ids + 1] = id_of(found[i])
    end
    return ids
end

-- The same without those of the excluded tasks; and how many were looked at.
local function take_others(queue, priority, limit, exclude, looks)
    local line, ids, places, looked = line_of(queue, priority), {}, {}, 0
    while #ids < limit and looked < looks do
        local found = call('ZRANGE', line, looked, looked + math.min(limit, looks - looked) - 1)
        if #found == 0 then
            break
        end
        looked = looked + #found
        for _, place in ipairs(found) do
            local head = head_of(fields(id_of(place), 'h')[1])
            if #ids < limit and not (head and exclude[head[TASK]]) then
                ids[#ids + 1] = id_of(place)
                places[#places + 1] = place
            end
        end
    end
    bulk('ZREM', line, places)
    return ids, looked
end

local function claim(worker, queues, limit, exclude)
    local rows, running = {}, {}
    if not call('ZSCORE', base .. 'leases', worker) then
        return rows
    end
    for _, queue in ipairs(queues) do
        local looks = LOOKED_PAST
        if #rows < limit and call('SISMEMBER', base .. 'paused', queue) == 0 then
            for _, priority in ipairs(call('ZREVRANGE', base .. 'priorities:' .. queue, 0, -1)) do
                if #rows >= limit or looks <= 0 then
                    break
                end
                local ids, looked
                if exclude then
                    ids, looked = take_others(queue, priority, limit - #rows, exclude, looks)
                    looks = looks - looked
                else
                    ids = take(queue, priority, limit - #rows)
                end
                close_line(queue, priority)
                for _, id in ipairs(ids) do
                    local found = fields(id, 'h', 'p', 'o', 's', 'r', 'g', 'c')
                    local head, s = head_of(found[1]), state_of(found[4])
                    if not (head and s and is_text(id)) then
                        bury(id, queue, 'queued')
                    else
                        s[STATE], s[WORKER], s[STARTED] = 'running', worker, now
                        s[ATTEMPT], s[TOKEN] = s[ATTEMPT] + 1, s[TOKEN] + 1
                        found[4] = packed(s)
                        call('HSET', jobs .. id, 's', found[4])
                        if found[6] then
                            call('HDEL', jobs .. id, 'g')
                            found[6] = false
                        end
                        if s[CANCEL] then
                            call('HSET', base .. 'cancels', id, worker .. '\0' .. (s[REASON] or ''))
                        end
                        count(head, 'queued', -1)
                        count(head, 'running', 1)
                        found[8] = id
                        rows[#rows + 1] = found
                        running[#running + 1] = id
                    end
                end
            end
        end
    end
    if #running > 0 then
        bulk('SADD', base .. 'running:' .. worker, running)
        call('SADD', base .. 'holders', worker)
    end
    return rows
end
