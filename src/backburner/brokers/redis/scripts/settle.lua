-- Settle claims. A row is: number of its group, id, token, time, blob of the result; and for all but a plain success:
-- attempt, crashes, run_at, reason, blob of a line of history, new jobs as in store.lua. A group is: worker, queue, task, priority,
-- outcome, state, keep, minute.
-- Most are plain successes of jobs that nobody touched since their claim: those come apart, as one list of QUICK values
-- each: number of the group, id, seq, token, time, seconds, blob of the result or 0, blob of what stood there after the
-- claim, which is given only where all behind the start is empty. Nothing of them is decoded: 3 of 6 microseconds.
-- The numbers of the refused ones are the reply, the quick ones counted first.
local QUICK = 8
local HISTORY = 1000
local SUCCEEDED = '\158\169succeeded'

-- The first 500 and the last 500 attempts are kept of a job that fails without end.
local function write_history(id, line)
    local key = base .. 'history:' .. id
    if call('RPUSH', key, line) > HISTORY then
        call('LSET', key, HISTORY / 2, '')
        call('LREM', key, 1, '')
    end
end

local function settle(groups, quick, rows)
    local lost, ended, left, finished = {}, {}, {}, {}

    local function over(number, id, seconds)
        local worker = groups[number][1]
        local gone = left[worker]
        if not gone then
            gone = {}
            left[worker] = gone
        end
        gone[#gone + 1] = id
        local sum = ended[number]
        if not sum then
            sum = {0, 0}
            ended[number] = sum
        end
        sum[1] = sum[1] + 1
        sum[2] = sum[2] + seconds
    end

    -- Whether it was applied.
    local function settle_one(row)
        local group, id, at = groups[row[1]], row[2], row[4]
        local worker, state, keep = group[1], group[6], group[7]
        local found = fields(id, 's', 'w')
        local s = state_of(found[1])
        if not s or s[STATE] ~= 'running' or s[TOKEN] ~= row[3] or s[WORKER] ~= worker then
            return false
        end
        local final = FINAL[state]
        s[STATE] = state
        if final then
            s[FINISHED] = at
            s[PRUNE] = keep and at + keep
        end
        if state == 'succeeded' then
            s[REASON] = nil
        else
            s[ATTEMPT], s[CRASHES], s[RUN] = row[6], row[7], row[8]
            -- Who asked for a job to be cancelled gave a reason: it stays with a job that goes back.
            if final or not s[CANCEL] then
                s[REASON] = row[9]
            end
        end
        if row[5] then
            call('HSET', jobs .. id, 's', packed(s), 'r', blob(row[5]))
        else
            write(id, s)
        end
        if s[CANCEL] then
            call('HDEL', base .. 'cancels', id)
        end
        if final then
            if s[PRUNE] then
                finished[#finished + 1] = s[PRUNE]
                finished[#finished + 1] = member(s, id)
            end
            if state == 'dead' then
                call('ZADD', base .. 'dead:' .. group[2], at, member(s, id))
            end
            wake_job(id, found[2])
        else
            enter({group[3], group[2], group[4]}, s, id)
        end
        if row[10] then
            write_history(id, blob(row[10]))
        end
        if row[11] then
            store(row[11], duplicates(row[11]))
        end
        over(row[1], id, at - (s[STARTED] or at))
        return true
    end

    for i = 1, #quick, QUICK do
        local number, id, seq, token, at, seconds, result, stamp = unpack(quick, i, i + QUICK - 1)
        stamp = blob(stamp)
        if redis.pcall('HGET', jobs .. id, 's') == stamp then
            local keep = groups[number][7]
            -- The state, then all that stays, then: finished, prune, cancel, reason.
            local s = SUCCEEDED .. string.sub(stamp, 10, -5) .. cmsgpack.pack(at, keep and at + keep) .. '\192\192'
            if result > 0 then
                call('HSET', jobs .. id, 's', s, 'r', blob(result))
            else
                call('HSET', jobs .. id, 's', s)
            end
            if keep then
                finished[#finished + 1] = at + keep
                finished[#finished + 1] = string.format('%015d', seq) .. id
            end
            over(number, id, seconds)
        elseif not settle_one({number, id, token, at, result > 0 and result or nil}) then
            lost[#lost + 1] = (i - 1) / QUICK + 1
        end
    end
    for i, row in ipairs(rows) do
        if not settle_one(row) then
            lost[#lost + 1] = #quick / QUICK + i
        end
    end
    for worker, ids in pairs(left) do
        bulk('SREM', base .. 'running:' .. worker, ids)
        if call('EXISTS', base .. 'running:' .. worker) == 0 then
            call('SREM', base .. 'holders', worker)
        end
    end
    bulk('ZADD', base .. 'finished', finished)
    for i, sum in pairs(ended) do
        local _, queue, task, _, outcome, state, _, minute = unpack(groups[i], 1, 8)
        write_rate(string.format('%d', minute), queue, task, outcome, sum[1], sum[2])
        local head = {task, queue}
        count(head, 'running', -sum[1])
        count(head, state, sum[1])
    end
    write_lines()
    return lost
end
