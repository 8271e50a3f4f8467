-- Look through some of the jobs, from the newest to the oldest.
-- given  [states, queue, task, text in the error, text in the options, id of the job before which to begin,
--        arrival to begin at or nothing, how many to look at, how many to find]
-- reply  [arrival to go on at, or nothing when these were all; rows of those that match]
-- {job}
local states, queue, task, text, tag = given[1], given[2], given[3], given[4], given[5]
local from, looks, wanted = given[7], given[8], given[9]
if given[6] and not from then
    from = call('ZSCORE', base .. 'arrival', given[6])
    if not from then
        return {false, {}}
    end
    from = from - 1
end
local any_state, chosen = #states == 0, {}
for _, state in ipairs(states) do
    chosen[state] = true
end

local function says(id, s)
    if s[REASON] and string.find(s[REASON], text, 1, true) then
        return true
    end
    for _, line in ipairs(call('LRANGE', base .. 'history:' .. id, 0, -1)) do
        if string.find(line, text, 1, true) then
            return true
        end
    end
end

local rows = {}
local found = call('ZREVRANGEBYSCORE', base .. 'arrival', from and exact(from) or '+inf', '-inf', 'LIMIT', 0, looks)
for i, id in ipairs(found) do
    local head, s, _, damaged = read(id)
    local matches = damaged and any_state and not (queue or task or tag or text)
    if s and (any_state or chosen[s[STATE]]) and (not queue or head[QUEUE] == queue)
        and (not task or head[TASK] == task)
        and (not tag or string.find(call('HGET', jobs .. id, 'o') or '', tag, 1, true))
        and (not text or says(id, s)) then
        matches = true
    end
    if matches then
        rows[#rows + 1] = row(id)
    end
    if i == looks or #rows == wanted then
        return {exact(call('ZSCORE', base .. 'arrival', id) - 1), rows}
    end
end
return {false, rows}
