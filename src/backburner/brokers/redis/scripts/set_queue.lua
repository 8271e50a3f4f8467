-- given  [queue, whether it is paused or nothing, blob of its bound or nothing]
-- {begin}
-- {wakes}
local queue, paused, bound = given[1], given[2], blob(given[3])
if paused == true then
    call('SADD', base .. 'paused', queue)
elseif paused == false then
    call('SREM', base .. 'paused', queue)
    wake_queue(queue, 1000)
end
if bound then
    call('HSET', base .. 'bounds', queue, bound)
end
