-- given  [the id of a job]
-- reply  its attempts, oldest first
-- {begin}
return call('LRANGE', base .. 'history:' .. given[1], 0, -1)
