-- Claim jobs for a worker. What it has no room for is looked past, but not for ever; what cannot be read is buried.
-- A row is what `row` gives, or, of a job that never ran: head, payload, options, what changes, id.
-- {fresh}
local LOOKED_PAST = 1000

-- The first jobs of one line, taken out of it. Not popped: that would write down the score of each.
local function take(queue, priority, limit)
    local ids = call('ZRANGE', line_of(queue, priority), 0, limit - 1)
    if #ids > 0 then
        call('ZREMRANGEBYRANK', line_of(queue, priority), 0, #ids - 1)
    end
    for i, place in ipairs(ids) do
        ids[i] = id_of(place)
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

-- A job that never ran is not decoded but spliced: 2 of 7 microseconds. Who reads the row finds damage in between, and has
-- it buried by `bury_held`.
local AT_WORK = '\192\192\192\192'

-- The row of any other job, claimed; nothing if it cannot be read.
local function claimed_again(id, worker)
    local found = fields(id, 'h', 'p', 'o', 's', 'r', 'g', 'c')
    local head, s = head_of(found[1]), state_of(found[4])
    if not (head and s and is_text(id)) then
        return nil
    end
    s[STATE], s[WORKER], s[STARTED] = 'running', worker, now
    s[ATTEMPT], s[TOKEN] = s[ATTEMPT] + 1, s[TOKEN] + 1
    found[4] = packed(s)
    if found[6] then
        call('HDEL', jobs .. id, 'g')
        found[6] = false
    end
    if s[CANCEL] then
        call('HSET', base .. 'cancels', id, worker .. '\0' .. (s[REASON] or ''))
    end
    found[8] = id
    return found
end

local function claim(worker, queues, limit, exclude)
    local rows, running, claims = {}, {}, {}
    local first_claim = '\192\1\1\0' .. cmsgpack.pack(worker, now) .. AT_WORK
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
                    local found = redis.pcall('HMGET', jobs .. id, 'h', 'p', 'o', 's')
                    local data, head = found[4], found[1] and head_of(found[1])
                    if head and data and string.sub(data, 1, 8) == QUEUED and string.sub(data, -10) == NEVER_RAN then
                        found[4] = RUNNING .. string.sub(data, 9, -11) .. first_claim
                        found[5] = id
                    else
                        found = claimed_again(id, worker)
                    end
                    if found then
                        call('HSET', jobs .. id, 's', found[4])
                        claims[head] = (claims[head] or 0) + 1
                        rows[#rows + 1] = found
                        running[#running + 1] = id
                    else
                        bury(id, queue, 'queued')
                    end
                end
            end
        end
    end
    for head, many in pairs(claims) do
        count(head, 'queued', -many)
        count(head, 'running', many)
    end
    if #running > 0 then
        bulk('SADD', base .. 'running:' .. worker, running)
        call('SADD', base .. 'holders', worker)
    end
    return rows
end
