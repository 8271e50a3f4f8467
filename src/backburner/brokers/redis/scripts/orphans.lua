-- End leases that have expired, and find what their workers left.
-- given  [how many jobs at most, when this was asked for, only these workers or nothing]
-- reply  rows of jobs that run under the name of a worker without a lease
-- {job}
-- {counts}
-- {wakes}
-- {line}
-- {bury}
local limit, asked, only, chosen = given[1], given[2], given[3], {}
local expired = math.min(now, asked or now)
for _, worker in ipairs(only or {}) do
    chosen[worker] = true
end
for _, worker in ipairs(call('ZRANGEBYSCORE', base .. 'leases', '-inf', exact(expired))) do
    if not only or chosen[worker] then
        call('ZREM', base .. 'leases', worker)
        call('HDEL', base .. 'workers', worker)
    end
end
local rows = {}
for _, worker in ipairs(call('SMEMBERS', base .. 'holders')) do
    if #rows < limit and (not only or chosen[worker]) and not call('ZSCORE', base .. 'leases', worker) then
        for _, id in ipairs(call('SRANDMEMBER', base .. 'running:' .. worker, limit - #rows)) do
            local head, s, _, damaged = read(id)
            if s then
                rows[#rows + 1] = row(id)
            elseif damaged then
                bury(id, nil, 'running')
                call('SREM', base .. 'running:' .. worker, id)
            end
        end
    end
end
write_counts()
return rows
