-- What every script begins with.
-- KEYS[1]  the app's prefix in braces, which every key begins with: so all of them are in one slot of a Cluster
-- ARGV[1]  the time in seconds, or '' for this server's own
-- ARGV[2]  what was given, as MessagePack: each script says what
-- ARGV[3]  and so on: bytes that nobody decodes here; a `blob` is the number of one, or nil
local call = redis.call
local base = KEYS[1] .. ':'
local given = cmsgpack.unpack(ARGV[2])
local now = tonumber(ARGV[1])
if not now then
    local time = call('TIME')
    now = time[1] + time[2] / 1000000
end

local function blob(number)
    return number and ARGV[2 + number]
end

-- Exact: a number would come to the client as an integer, and tostring() gives 14 digits.
local function exact(number)
    return string.format('%.17g', number)
end

-- One command for many values. Lua's stack takes 8,000 of them.
local function bulk(command, key, values)
    for first = 1, #values, 4000 do
        call(command, key, unpack(values, first, math.min(first + 3999, #values)))
    end
end
