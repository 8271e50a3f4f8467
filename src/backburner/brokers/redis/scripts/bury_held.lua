-- Bury what cannot be read among the jobs that a worker was given.
-- given  [worker]; and as blobs, since they may be no text: ids
-- reply  ids of those that were buried; what is wrong with the others a worker can settle
-- {job}
-- {counts}
-- {wakes}
-- {line}
-- {bury}
local worker, buried = given[1], {}
for i = 3, #ARGV do
    local id = ARGV[i]
    if call('SISMEMBER', base .. 'running:' .. worker, id) == 1 and select(4, read(id)) then
        bury(id, nil, 'running')
        call('SREM', base .. 'running:' .. worker, id)
        buried[#buried + 1] = id
    end
end
write_counts()
return buried
