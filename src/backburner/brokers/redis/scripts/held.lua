-- given  [the worker]
-- reply  rows of the jobs that run under its name
-- {job}
local rows = {}
for _, id in ipairs(call('SMEMBERS', base .. 'running:' .. given[1])) do
    rows[#rows + 1] = row(id)
end
return rows
