-- The line of a queue: one sorted set a priority, `waiting:PRIORITY:QUEUE`, by the time at which a job was due;
-- `priorities:QUEUE` has those that are not empty. What is not due yet is in `later`.
-- Entering is gathered, and written once a script; leaving is written at once.
local entering, entered_later = {}, {}

local function line_of(queue, priority)
    return base .. 'waiting:' .. priority .. ':' .. queue
end

local function line_entered(head)
    local queue, priority = head[QUEUE], head[PRIORITY]
    local lines = entering[queue]
    if not lines then
        lines = {}
        entering[queue] = lines
    end
    local line = lines[priority]
    if not line then
        line = {}
        lines[priority] = line
    end
    return line
end

-- A new job that is due now. A score is written as text, and this one once for all of them.
local NOW = exact(now)
local function enter_now(head, seq, id)
    local line = line_entered(head)
    line[#line + 1] = NOW
    line[#line + 1] = string.format('%015d', seq) .. id
end

local function enter(head, s, id)
    if s[STATE] == 'queued' then
        local line = line_entered(head)
        line[#line + 1] = s[RUN]
        line[#line + 1] = member(s, id)
    else
        entered_later[#entered_later + 1] = s[RUN]
        entered_later[#entered_later + 1] = member(s, id)
    end
end

-- Wakes as many as there is work for, and whoever stages when one of these is now the next to come due.
local function write_lines()
    for queue, lines in pairs(entering) do
        local many = 0
        for priority, line in pairs(lines) do
            bulk('ZADD', line_of(queue, priority), line)
            call('ZADD', base .. 'priorities:' .. queue, priority, priority)
            many = many + #line / 2
        end
        wake_queue(queue, many)
    end
    entering = {}
    if #entered_later > 0 then
        bulk('ZADD', base .. 'later', entered_later)
        local first = call('ZRANGE', base .. 'later', 0, 0)[1]
        for i = 2, #entered_later, 2 do
            if entered_later[i] == first then
                tell('stage')
            end
        end
        entered_later = {}
    end
end

local function close_line(queue, priority)
    if call('EXISTS', line_of(queue, priority)) == 0 then
        call('ZREM', base .. 'priorities:' .. queue, priority)
    end
end

local function leave(head, s, id)
    if s[STATE] == 'queued' then
        call('ZREM', line_of(head[QUEUE], head[PRIORITY]), member(s, id))
        close_line(head[QUEUE], head[PRIORITY])
    else
        call('ZREM', base .. 'later', member(s, id))
    end
end

-- End a job that waits.
local function drop(head, s, id, reason, keep, listeners)
    leave(head, s, id)
    count(head, s[STATE], -1)
    s[STATE], s[REASON], s[FINISHED], s[PRUNE] = 'cancelled', reason, now, now + keep
    count(head, s[STATE], 1)
    write(id, s)
    call('ZADD', base .. 'finished', s[PRUNE], member(s, id))
    wake_job(id, listeners)
end
