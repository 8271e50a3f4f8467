-- Store new jobs, or none of them when a bounded queue is full.
-- given  new jobs as in store.lua; bounds by queue: [max_length, whether the oldest are dropped, keep]
-- reply  [the time, [number and row of what is kept for each that is not new …]],
--        or [the time, the full queue, its depth, what left it in the last minutes]
-- {job}
-- {counts}
-- {wakes}
-- {line}
-- {remove}
-- {store}
-- {rates}

local new, bounds = given[1], given[2]
local new_heads, rows = new[1], new[2]
local kept = duplicates(new)

local function depth(queue)
    local held = 0
    for _, priority in ipairs(call('ZRANGE', base .. 'priorities:' .. queue, 0, -1)) do
        held = held + call('ZCARD', line_of(queue, priority))
    end
    return held
end

-- The oldest of a queue, whatever its priority.
local function oldest(queue)
    local first, score
    for _, priority in ipairs(call('ZRANGE', base .. 'priorities:' .. queue, 0, -1)) do
        local found = call('ZRANGE', line_of(queue, priority), 0, 0, 'WITHSCORES')
        local at = tonumber(found[2])
        if at and (not score or at < score or at == score and found[1] < first) then
            first, score = found[1], at
        end
    end
    return id_of(first)
end

local excess = {}
for queue, bound in pairs(bounds) do
    local ready = 0
    for i, row in ipairs(rows) do
        if not kept[i] and new_heads[row[NEW_HEAD]][QUEUE] == queue and due(row) <= now then
            ready = ready + 1
        end
    end
    if ready > 0 then
        local held = depth(queue)
        excess[queue] = math.min(held + ready - bound[1], ready)
        if excess[queue] > 0 and not (bound[2] and ready <= bound[1]) then
            return {exact(now), queue, held, drained(queue)}
        end
    end
end

store(new, kept)
write_lines()
local found = {}
for i, id in pairs(kept) do
    found[#found + 1] = {i, row(id)}
end
for queue, many in pairs(excess) do
    for _ = 1, many do
        local id = oldest(queue)
        local head, s, listeners = read(id)
        if s then
            drop(head, s, id, 'dropped: its queue was full', bounds[queue][3], listeners)
        end
    end
end
prune(now - OVERDUE, 2 * (#rows + OVERDUE_EACH))
write_counts()
return {exact(now), found}
