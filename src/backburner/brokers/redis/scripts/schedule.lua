-- A stored schedule is an array: schedule, next fire, last job, whether paused, whether declared.
local schedules = base .. 'schedules'

local function read_schedule(name)
    local stored = call('HGET', schedules, name)
    local ok, s = pcall(cmsgpack.unpack, stored)
    return ok and type(s) == 'table' and s
end

-- An array of 5 (0x95), written by hand because it may have holes.
local function write_schedule(name, s)
    call('HSET', schedules, name, '\149' .. cmsgpack.pack(s[1], s[2], s[3], s[4], s[5]))
end
