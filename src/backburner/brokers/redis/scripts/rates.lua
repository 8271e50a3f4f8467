-- What ended, by minute: `rates:MINUTE` is a hash of counts and seconds by queue, task and outcome.
local RATES_KEPT = 2 * 24 * 3600

local function write_rate(minute, queue, task, outcome, many, seconds)
    local key = base .. 'rates:' .. minute
    local field = queue .. '\0' .. task .. '\0' .. outcome
    call('HINCRBY', key, 'n\0' .. field, many)
    call('HINCRBYFLOAT', key, 's\0' .. field, exact(seconds))
    call('EXPIRE', key, RATES_KEPT)
end

-- How many left a queue for good in this minute and the five before.
local function drained(queue)
    local sum, minute = 0, math.floor(now / 60)
    for each = minute - 5, minute do
        local rates = call('HGETALL', base .. 'rates:' .. string.format('%d', each))
        for i = 1, #rates, 2 do
            local name, _, outcome = string.match(rates[i], '^n%z(%Z*)%z(%Z*)%z(%Z*)$')
            if name == queue and (outcome == 'succeed' or outcome == 'die') then
                sum = sum + rates[i + 1]
            end
        end
    end
    return sum
end
