-- Store one new job that is due now, has no key and never expires, in a queue without a bound: what a web handler does.
-- given  id, queue, task, priority
-- blobs  its head as in job.lua, the payload, and the options if it has any
-- reply  that of enqueue.lua; nothing if the job is there already, or old ones are to be deleted on the way
-- Half of the server's time for `enqueue` went into what such a job has no use for: 60 and 28 microseconds. A call costs
-- 2 or 3 more than its command, and two looked for what is hardly ever there: 44 microseconds, and 35 without them.
-- {begin}
-- {fresh}
-- {wakes}
local id, queue, task, priority = given[1], given[2], given[3], given[4]
local seq, moment = call('INCR', base .. 'seq'), exact(now)
if seq % OVERDUE_EACH == 0
    and #call('ZRANGEBYSCORE', base .. 'finished', '-inf', now - OVERDUE, 'LIMIT', 0, 1) > 0 then
    return false
end
-- It may be there although its id was just made for it: a request that was given up can be done after all, later.
if call('ZADD', base .. 'arrival', 'NX', seq, id) == 0 then
    return false
end

local key = base .. 'job:' .. id
call('HSET', key, 'h', blob(1), 's', QUEUED .. cmsgpack.pack(seq, now, now) .. NEVER_RAN, 'p', blob(2))
if blob(3) then
    call('HSET', key, 'o', blob(3))
end
call('ZADD', base .. 'waiting:' .. priority .. ':' .. queue, moment, string.format('%015d', seq) .. id)
call('ZADD', base .. 'priorities:' .. queue, priority, priority)
call('HINCRBY', base .. 'counts', 'queued\0' .. queue .. '\0' .. task, 1)
wake_queue(queue, 1)
return {moment, {}}
