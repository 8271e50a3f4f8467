-- What changes of a job that is queued and never ran begins and ends like this, in the bytes of job.lua: no expiry, no
-- attempt, token and crash, and nothing of all that follows. In between are its seq, and twice the time.
local QUEUED, RUNNING, NEVER_RAN = '\158\166queued', '\158\167running', '\192\0\0\0\192\192\192\192\192\192'
-- Memory is bounded also where no worker prunes: what should have gone so many seconds ago goes with what comes. Of
-- those that come alone one of so many looks.
local OVERDUE, OVERDUE_EACH = 3600, 16
