-- Look at some of the jobs of one line, the longest due first.
-- given  [queue, priority, how many were looked at already, how many to look at]
-- reply  task, when it was due, for the first job of each task among them …; and how many were looked at
-- {job}
local queue, priority, from, looks = given[1], given[2], given[3], given[4]
local found = call('ZRANGE', base .. 'waiting:' .. priority .. ':' .. queue, from, from + looks - 1, 'WITHSCORES')
local firsts, seen = {}, {}
for i = 1, #found, 2 do
    local head = head_of(fields(id_of(found[i]), 'h')[1])
    local task = head and head[TASK]
    if task and not seen[task] then
        seen[task] = true
        firsts[#firsts + 1] = task
        firsts[#firsts + 1] = found[i + 1]
    end
end
return {firsts, #found / 2}
