-- A record that is damaged fails nobody but itself.

-- The tags of a job, as JSON; nothing if its options are none.
CREATE FUNCTION {schema}.tags(options text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN (replace(options, '\u0000', '\ufffd')::json -> 'tags')::text;
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END $$;

-- A number that is too large to be counted on would fail the whole claim.
-- Claim up to `most` jobs, queue by queue in the order given, priority by priority.
CREATE OR REPLACE FUNCTION {schema}.claim(at double precision, claimer text, names text[], most integer, without text[])
RETURNS SETOF {schema}.record LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    lane record;
    taken bigint;
    chosen tid[];
    missing bigint := most;
BEGIN
    IF NOT EXISTS (SELECT FROM {schema}.workers WHERE id = claimer AND NOT ended) THEN
        RETURN;
    END IF;
    FOR lane IN
        SELECT wanted.queue, priority, min(floor) AS floor, max(looked_at) AS looked_at
        FROM unnest(names) WITH ORDINALITY AS wanted (queue, place)
        JOIN {schema}.lanes ON lanes.queue = wanted.queue
        WHERE NOT EXISTS (SELECT FROM {schema}.queues WHERE name = wanted.queue AND paused)
        GROUP BY place, wanted.queue, priority ORDER BY place, priority DESC
    LOOP
        IF without IS NULL THEN
            chosen := ARRAY(
                SELECT ctid FROM {schema}.jobs
                WHERE state = 'queued' AND queue = lane.queue AND priority = lane.priority AND run_at >= lane.floor
                ORDER BY run_at, seq LIMIT missing FOR UPDATE SKIP LOCKED
            );
        ELSE
            -- Looks past jobs that the worker has no room for, but not for ever.
            chosen := ARRAY(
                SELECT ctid FROM {schema}.jobs WHERE state = 'queued' AND seq = ANY (ARRAY(
                    SELECT seq FROM (
                        SELECT seq, task FROM {schema}.jobs
                        WHERE state = 'queued' AND queue = lane.queue AND priority = lane.priority
                          AND run_at >= lane.floor
                        ORDER BY run_at, seq LIMIT 1000
                    ) AS first WHERE task <> ALL (without) LIMIT missing
                )) FOR UPDATE SKIP LOCKED
            );
        END IF;
        RETURN QUERY
            WITH mine AS (
                UPDATE {schema}.jobs
                SET state = 'running', attempt = least(attempt, 1000000000) + 1, token = least(token, 1000000000) + 1,
                    worker = claimer, started_at = at, progress = NULL
                WHERE ctid = ANY (chosen)
                RETURNING id, task, payload, queue, priority, state, created_at, run_at, expires_at, attempt, token, crashes, worker,
                started_at, finished_at, result, reason, key, cancel_requested, progress, checkpoint, options, seq
            )
            SELECT * FROM mine ORDER BY run_at, seq;
        GET DIAGNOSTICS taken = ROW_COUNT;
        missing := missing - taken;
        IF extract(epoch FROM clock_timestamp()) - lane.looked_at > 0.25 THEN
            PERFORM {schema}.rise(at, lane.queue, lane.priority);
        END IF;
        EXIT WHEN missing <= 0;
    END LOOP;
END $$;
