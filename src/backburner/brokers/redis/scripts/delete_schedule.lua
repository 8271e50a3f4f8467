-- given  [name]
-- reply  how many were deleted
-- {begin}
-- {schedule}
return call('HDEL', schedules, given[1])
