-- Store jobs of another broker as they are there.
-- given  [new jobs as in store.lua; for each of them: what changes as in job.lua, blob of its progress, blob of its
--        checkpoint, blobs of its history]
-- reply  how many were stored
-- {job}
-- {counts}
-- {wakes}
-- {line}
-- {store}
local new, lives = given[1], given[2]
local kept, lived, stored = duplicates(new), {}, 0
for i, life in ipairs(lives) do
    lived[i] = life[1]
end
store(new, kept, lived)
for i, life in ipairs(lives) do
    if not kept[i] then
        local id = new[2][i][NEW_ID]
        stored = stored + 1
        if life[2] then
            call('HSET', jobs .. id, 'g', blob(life[2]))
        end
        if life[3] then
            call('HSET', jobs .. id, 'c', blob(life[3]))
        end
        for _, line in ipairs(life[4]) do
            call('RPUSH', base .. 'history:' .. id, blob(line))
        end
    end
end
write_lines()
write_counts()
return stored
