-- Settle these claims and make those.
-- given  groups, quick ones and rows as in settle.lua; worker, queues, limit and excluded tasks of a claim, or nothing
-- reply  [numbers of the refused rows, rows of the claimed jobs]
-- {job}
-- {counts}
-- {wakes}
-- {line}
-- {store}
-- {rates}
-- {settle}
-- {bury}
-- {claim}
local lost, rows = settle(given[1], given[2], given[3]), {}
local worker, queues, limit, excluded = given[4], given[5], given[6], given[7]
if worker then
    local exclude
    for _, task in ipairs(excluded) do
        exclude = exclude or {}
        exclude[task] = true
    end
    rows = claim(worker, queues, limit, exclude)
end
write_counts()
count_again()
return {lost, rows}
