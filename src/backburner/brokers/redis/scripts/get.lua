-- given  ids
-- reply  rows of those that exist
-- {job}
local rows = {}
for _, id in ipairs(given) do
    rows[#rows + 1] = row(id)
end
return rows
