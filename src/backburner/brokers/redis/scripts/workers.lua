-- given  nothing
-- reply  worker, [beat, started, seen, lease] as MessagePack …
-- {begin}
return call('HGETALL', base .. 'workers')
