-- Delete final jobs whose retention has passed, and dead ones beyond a limit, the oldest first.
-- given  [how many at most (of each queue's dead), dead jobs to keep in a queue]
-- reply  [how many were deleted, [queue, how many dead ones were trimmed …], [queue, how many are left …]]
-- {job}
-- {counts}
-- {wakes}
-- {line}
-- {remove}
local limit, max_dead = given[1], given[2]
local deleted = prune(exact(now), limit)
write_counts()
counts = {}

local dead, trimmed, left = {}, {}, {}
local stored = call('HGETALL', base .. 'counts')
for i = 1, #stored, 2 do
    local state, queue = string.match(stored[i], '^(%Z*)%z(%Z*)')
    if state == 'dead' then
        dead[queue] = (dead[queue] or 0) + stored[i + 1]
    end
end
for queue, many in pairs(dead) do
    local excess = math.min(limit, many - max_dead)
    if excess > 0 then
        for _, place in ipairs(call('ZRANGE', base .. 'dead:' .. queue, 0, excess - 1)) do
            local id = id_of(place)
            local head, s, listeners = read(id)
            if s then
                remove(id, head, s, listeners)
            else
                call('ZREM', base .. 'dead:' .. queue, place) -- a full server deleted it: maxmemory-policy
            end
        end
        many = many - excess
        trimmed[#trimmed + 1] = queue
        trimmed[#trimmed + 1] = excess
    end
    left[#left + 1] = queue
    left[#left + 1] = many
end
write_counts()
return {deleted, trimmed, left}
