-- Who waits is in `listeners:TOPIC`, or in the job that it waits for: PROCESS:NUMBER. Each process has a channel.
-- True if somebody heard it: a listener whose process is gone is not one.
local function signal(listener)
    local colon = string.find(listener, ':', 1, true)
    local channel = base .. 'wake:' .. string.sub(listener, 1, colon - 1)
    return call('PUBLISH', channel, string.sub(listener, colon + 1)) > 0
end

-- Wake up to `many` of those who wait for work in a queue, the longest first: a job for which one of them has no
-- code, and which that one puts off, reached it again and again, and never the other. They must say it when they
-- wait again.
local function wake_queue(queue, many)
    local key = base .. 'listeners:queue:' .. queue
    while many > 0 do
        local found = call('ZPOPMIN', key, math.min(many, 1000))
        if #found == 0 then
            return
        end
        for i = 1, #found, 2 do
            if signal(found[i]) then
                many = many - 1
            end
        end
    end
end

-- Tell one who listens all the time.
local function tell(topic)
    local key = base .. 'listeners:' .. topic
    local found = call('ZREVRANGE', key, 0, 0)
    while #found > 0 and not signal(found[1]) do
        call('ZREM', key, found[1])
        found = call('ZREVRANGE', key, 0, 0)
    end
end

-- Tell all who wait for the end of a job.
local function wake_job(id, listeners)
    if listeners then
        for listener in string.gmatch(listeners, '%S+') do
            signal(listener)
        end
        call('HDEL', base .. 'job:' .. id, 'w')
    end
end
