-- Most jobs are fresh: their ids were made for them a moment ago, and they have no idempotency key. So none of them can be
-- there, and nothing is looked up: a fifth of the time of `enqueue` went into looking for the id among the finished.

-- Store fresh jobs, all due now or after a delay. An error if an id is there after all, and then none is stored. `lanes` is a
-- JSON array of those in which jobs are due now, with how many. Answers the moment.
CREATE FUNCTION {schema}.enqueue_fresh(moment double precision, jobs text, lanes text, later boolean)
RETURNS double precision LANGUAGE plpgsql SET lock_timeout = '8s' SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    number xid8 := pg_current_xact_id(); -- before the time is read: see `rise`
    at double precision := {schema}.clock(moment);
BEGIN
    INSERT INTO {schema}.jobs (id, task, payload, queue, priority, state, created_at, run_at, expires_at, options)
    SELECT id, task, payload, queue, priority, CASE WHEN delay > 0 THEN 'scheduled' ELSE 'queued' END, at,
           at + greatest(delay, 0), CASE WHEN expires_in IS NOT NULL THEN at + expires_in ELSE expires_at END, options
    FROM json_to_recordset(jobs::json) AS fresh (
        id text, task text, payload text, queue text, priority integer, delay double precision,
        expires_at double precision, expires_in double precision, options text
    );
    -- A line in `lanes` and somebody to wake are both rare: one look at the two.
    IF later OR EXISTS (SELECT FROM {schema}.waiting) OR EXISTS (
        SELECT FROM json_to_recordset(lanes::json) AS new (queue text, priority integer)
        WHERE NOT EXISTS (
            SELECT FROM {schema}.lanes AS lane
            WHERE lane.queue = new.queue AND lane.priority = new.priority
              AND lane.floor <= at AND coalesce(lane.next, lane.floor) <= at
        )
    ) THEN
        PERFORM {schema}.came(array_agg(queue), array_agg(priority), array_agg(at), array_agg(count), at, later)
        FROM json_to_recordset(lanes::json) AS new (queue text, priority integer, count bigint);
        IF EXISTS (SELECT FROM json_to_recordset(jobs::json) AS fresh (delay double precision) WHERE delay > 0) THEN
            PERFORM {schema}.wake(ARRAY['stage'], ARRAY[1::bigint], later);
        END IF;
    END IF;
    RETURN at;
END $$;
