-- How many jobs are claimed before one.
-- given  [its id, how far to count]
-- {job}
-- {counts}
-- {wakes}
-- {line}
local id, limit, ahead = given[1], given[2], 0
local head, s = read(id)
if not s then
    return 0
end
for _, priority in ipairs(call('ZREVRANGE', base .. 'priorities:' .. head[QUEUE], 0, -1)) do
    local line = line_of(head[QUEUE], priority)
    if tonumber(priority) > head[PRIORITY] then
        ahead = ahead + call('ZCARD', line)
    elseif tonumber(priority) == head[PRIORITY] then
        ahead = ahead + (call('ZRANK', line, member(s, id)) or call('ZCOUNT', line, '-inf', '(' .. exact(s[RUN])))
    end
end
return math.min(ahead, limit)
