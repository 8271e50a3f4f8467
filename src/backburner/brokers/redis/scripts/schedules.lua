-- given  nothing
-- reply  name, [schedule, next fire, last job, whether paused, whether declared] as MessagePack …
-- {begin}
return call('HGETALL', base .. 'schedules')
