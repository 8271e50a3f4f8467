-- {begin}
-- A job is a hash at `job:ID`:
--   h  head: [task, queue, priority, key], which never changes
--   p  payload, o  options, r  result, g  progress, c  checkpoint: bytes that nobody decodes here
--   s  what changes, in the order of the numbers below
--   w  listeners to wake when it is final
local STATE, SEQ, CREATED, RUN, EXPIRES, ATTEMPT, TOKEN = 1, 2, 3, 4, 5, 6, 7
local CRASHES, WORKER, STARTED, FINISHED, PRUNE, CANCEL, REASON = 8, 9, 10, 11, 12, 13, 14
local TASK, QUEUE, PRIORITY, KEY = 1, 2, 3, 4
local FINAL = {succeeded = true, dead = true, cancelled = true}
local jobs = base .. 'job:'

-- An array of 14 (0x9e), written by hand: cmsgpack would make a map of a table with holes.
local function packed(s)
    return '\158' .. cmsgpack.pack(
        s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9], s[10], s[11], s[12], s[13], s[14])
end

-- A job's place in a sorted set: of equal scores the one that arrived first comes first.
local function member(s, id)
    return string.format('%015d', s[SEQ]) .. id
end

local function id_of(place)
    return string.sub(place, 16)
end

-- Heads repeat: most are of one task in one queue.
local heads = {}
local function head_of(h)
    local head = heads[h]
    if not head then
        head = cmsgpack.unpack(h)
        heads[h] = head
    end
    return head
end

-- The head and the state of a job, or nothing.
local function read(id)
    local found = call('HMGET', jobs .. id, 'h', 's', 'w')
    if found[2] then
        return head_of(found[1]), cmsgpack.unpack(found[2]), found[3]
    end
end

local function write(id, s)
    call('HSET', jobs .. id, 's', packed(s))
end

-- What the client makes a record of, or nothing.
local function row(id)
    local found = call('HMGET', jobs .. id, 'h', 'p', 'o', 's', 'r', 'g', 'c')
    if found[4] then
        found[8] = id
        return found
    end
end
