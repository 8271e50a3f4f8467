-- Keep the register of who waits.
-- given  [listeners that begin or go on: listener, topics …; those that end: listener, topics …;
--        seconds after which one that says nothing more is taken for dead]
-- reply  listeners whose topic has, or may have, something for them already
-- {job}
-- {counts}
-- {wakes}
-- {line}
local begin, ending, patience = given[1], given[2], given[3]
local time = call('TIME')
local clock, ready = time[1] + time[2] / 1000000, {}

local function has_work(queue)
    return call('EXISTS', base .. 'priorities:' .. queue) == 1 and call('SISMEMBER', base .. 'paused', queue) == 0
end

for i = 1, #ending, 2 do
    local listener = ending[i]
    for _, topic in ipairs(ending[i + 1]) do
        local job, queue = string.match(topic, '^job:(.*)$'), string.match(topic, '^queue:(.*)$')
        if job then
            local listeners = call('HGET', jobs .. job, 'w')
            if listeners then
                local left = {}
                for each in string.gmatch(listeners, '%S+') do
                    left[#left + 1] = each ~= listener and each or nil
                end
                call('HSET', jobs .. job, 'w', table.concat(left, ' '))
            end
        elseif call('ZREM', base .. 'listeners:' .. topic, listener) == 0 and queue and has_work(queue) then
            wake_queue(queue, 1) -- it was woken while it went: somebody else shall know
        end
    end
end

for i = 1, #begin, 2 do
    local listener, something = begin[i], false
    for _, topic in ipairs(begin[i + 1]) do
        local job, queue = string.match(topic, '^job:(.*)$'), string.match(topic, '^queue:(.*)$')
        if job then
            local _, s, listeners, damaged = read(job)
            if (s and FINAL[s[STATE]]) or not (s or damaged) then
                something = true
            elseif call('TYPE', jobs .. job).ok == 'hash' and not string.find(' ' .. (listeners or '') .. ' ', ' ' .. listener .. ' ', 1, true) then
                call('HSET', jobs .. job, 'w', listeners and listeners .. ' ' .. listener or listener)
                if s then -- it looks touched from now on, for `settle.lua` wakes nobody else
                    s[CANCEL] = s[CANCEL] or false
                    write(job, s)
                end
            end
        else
            local key = base .. 'listeners:' .. topic
            call('ZREMRANGEBYSCORE', key, '-inf', exact(clock))
            local new = call('ZADD', key, exact(clock + patience), listener) == 1
            call('EXPIRE', key, patience)
            if queue then
                something = something or has_work(queue)
            else
                something = something or new -- what was missed until now cannot be told
            end
        end
    end
    ready[#ready + 1] = something and listener or nil
end
return ready
