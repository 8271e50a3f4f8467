-- given  nothing
-- reply  [counts: state, queue and task, number …; paused queues; bounds: queue, bound …;
--        queue, when the job that has waited longest was due …]
-- {begin}
local counts, oldest, seen = call('HGETALL', base .. 'counts'), {}, {}
for i = 1, #counts, 2 do
    local state, queue = string.match(counts[i], '^(%Z*)%z(%Z*)')
    if state == 'queued' and not seen[queue] then
        seen[queue] = true
        local first
        for _, priority in ipairs(call('ZRANGE', base .. 'priorities:' .. queue, 0, -1)) do
            local at = call('ZRANGE', base .. 'waiting:' .. priority .. ':' .. queue, 0, 0, 'WITHSCORES')[2]
            if at and (not first or tonumber(at) < tonumber(first)) then
                first = at
            end
        end
        oldest[#oldest + 1] = queue
        oldest[#oldest + 1] = first or false
    end
end
return {counts, call('SMEMBERS', base .. 'paused'), call('HGETALL', base .. 'bounds'), oldest}
