-- How many jobs are in each state, by queue and task: changed once a script for all of its jobs.
local counts = {}

local function count(head, state, change)
    local field = head[state]
    if not field then
        field = state .. '\0' .. head[QUEUE] .. '\0' .. head[TASK]
        head[state] = field
    end
    counts[field] = (counts[field] or 0) + change
end

local function write_counts()
    for field, change in pairs(counts) do
        if change ~= 0 and call('HINCRBY', base .. 'counts', field, change) == 0 then
            call('HDEL', base .. 'counts', field)
        end
    end
end
