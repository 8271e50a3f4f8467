-- given  [queue]
-- reply  the priorities at which jobs wait in it
-- {begin}
return call('ZRANGE', base .. 'priorities:' .. given[1], 0, -1)
