-- Extend leases.
-- given  [worker, blob of the beat, lease in seconds, whether it is new] for each
-- reply  [the time, workers without a lease, jobs to stop: id, reason …]
-- {begin}
local workers, lost = {}, {}
for _, beat in ipairs(given) do
    local worker, until_ = beat[1], now + beat[3]
    local stored = call('HGET', base .. 'workers', worker)
    -- Never brings back a worker whose jobs were rescued: it is gone from here then.
    if stored or beat[4] then
        local ok, before = pcall(cmsgpack.unpack, stored)
        local started = ok and type(before) == 'table' and tonumber(before[2]) or now
        call('HSET', base .. 'workers', worker, cmsgpack.pack({blob(beat[2]), started, now, until_}))
        call('ZADD', base .. 'leases', until_, worker)
    else
        lost[#lost + 1] = worker
    end
    workers[worker] = true
end
local cancels, asked = {}, call('HGETALL', base .. 'cancels')
for i = 1, #asked, 2 do
    local worker, reason = string.match(asked[i + 1], '^(%Z*)%z(.*)$')
    if workers[worker] then
        cancels[#cancels + 1] = asked[i]
        cancels[#cancels + 1] = reason
    end
end
return {exact(now), lost, cancels}
