-- Store what a running job says of itself.
-- given  [id, token, blobs of the progress and of the checkpoint or nothing]
-- reply  1, or 0 when the claim no longer holds
-- {job}
local id, token, progress, checkpoint = given[1], given[2], blob(given[3]), blob(given[4])
local _, s = read(id)
if not s or s[STATE] ~= 'running' or s[TOKEN] ~= token then
    return 0
end
if progress then
    call('HSET', jobs .. id, 'g', progress)
end
if checkpoint then
    call('HSET', jobs .. id, 'c', checkpoint)
end
return 1
