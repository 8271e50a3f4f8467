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

-- Whether bytes are UTF-8. Where its sequences are cut out nothing above ASCII is left.
local SEQUENCES = {
    '[\194-\223][\128-\191]', '\224[\160-\191][\128-\191]', '[\225-\236\238\239][\128-\191][\128-\191]',
    '\237[\128-\159][\128-\191]', '\240[\144-\191][\128-\191][\128-\191]',
    '[\241-\243][\128-\191][\128-\191][\128-\191]', '\244[\128-\143][\128-\191][\128-\191]',
}
local function is_text(bytes)
    if string.find(bytes, '[\128-\255]') then
        for _, sequence in ipairs(SEQUENCES) do
            bytes = string.gsub(bytes, sequence, '?')
        end
    end
    return not string.find(bytes, '[\128-\255]')
end

-- What was damaged is no table, has values of other types, or numbers that are none: an error, or a sum that is none.
local function checked_head(h)
    local head = cmsgpack.unpack(h)
    if type(head[TASK]) ~= 'string' or type(head[QUEUE]) ~= 'string' or head[PRIORITY] * 0 ~= 0
        or type(head[KEY] or '') ~= 'string'
        or not is_text(head[TASK] .. head[QUEUE]) then
        error('it has values of other types', 0)
    end
    return head
end

local function checked_state(data)
    local s = cmsgpack.unpack(data)
    local sum = s[SEQ] + s[CREATED] + s[RUN] + s[ATTEMPT] + s[TOKEN] + s[CRASHES]
    if not (sum > -1e13 and sum < 1e13) or s[TOKEN] % 1 ~= 0 or type(s[STATE]) ~= 'string' then
        error('it has numbers that are none', 0)
    end
    return s
end

-- The head of a job; nothing, nothing and why, if it is damaged. Heads repeat: most are of one task in one queue.
local heads = {}
local function head_of(h)
    local head = heads[h]
    if not head then
        local ok
        ok, head = pcall(checked_head, h)
        if not ok then
            return nil, nil, head
        end
        heads[h] = head
    end
    return head
end

-- What changes of a job; nothing and why, if it is damaged.
local function state_of(data)
    local ok, s = pcall(checked_state, data)
    if ok then
        return s
    end
    return nil, s
end

-- Some fields of a job; none where a key is no job at all.
local function fields(id, ...)
    local found = redis.pcall('HMGET', jobs .. id, ...)
    return found.err and {} or found
end

-- The head and the state of a job, or nothing and nothing; who listens; and whether it is damaged.
local function read(id)
    local found = fields(id, 'h', 's', 'w')
    if found[1] or found[2] then
        local head, s = head_of(found[1]), state_of(found[2])
        if head and s and is_text(id) then
            return head, s, found[3]
        end
        return nil, nil, found[3], true
    end
    return nil, nil, nil, #found == 0
end

local function write(id, s)
    call('HSET', jobs .. id, 's', packed(s))
end

-- What the client makes a record of, or nothing.
local function row(id)
    local found = fields(id, 'h', 'p', 'o', 's', 'r', 'g', 'c')
    if #found == 0 then
        return {false, false, false, false, false, false, false, id}
    end
    if found[4] or found[1] then
        found[8] = id
        return found
    end
end
