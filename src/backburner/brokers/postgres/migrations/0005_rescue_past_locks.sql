-- A job whose row is locked is left for a later rescue: its transaction may settle it. The server takes two hours to
-- notice that a machine is gone which was about to commit; all that had died with it would wait for that one row.
-- Who has just died is noticed at once, and lets go of its locks within half a second.
CREATE OR REPLACE FUNCTION {schema}.orphans(moment double precision, most integer, which text[])
RETURNS SETOF {schema}.record LANGUAGE plpgsql
SET lock_timeout = '8s' SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    at double precision := {schema}.clock(moment);
BEGIN
    UPDATE {schema}.workers SET ended = true, seen_at = at
    WHERE NOT ended AND lease_until <= at AND (which IS NULL OR id = ANY (which));
    DELETE FROM {schema}.workers
    WHERE ended AND seen_at < at - 600
      AND NOT EXISTS (SELECT FROM {schema}.jobs WHERE state = 'running' AND worker = workers.id);
    BEGIN
        PERFORM set_config('lock_timeout', '500ms', true);
        PERFORM left_over.seq
        FROM {schema}.workers
        CROSS JOIN LATERAL (
            SELECT seq FROM {schema}.jobs WHERE state = 'running' AND worker = workers.id LIMIT most FOR UPDATE
        ) AS left_over
        WHERE ended AND (which IS NULL OR workers.id = ANY (which))
        LIMIT most;
    EXCEPTION WHEN lock_not_available THEN
        NULL;
    END;
    RETURN QUERY
        SELECT left_over.*
        FROM {schema}.workers
        CROSS JOIN LATERAL (
            SELECT id, task, payload, queue, priority, state, created_at, run_at, expires_at, attempt, token, crashes, worker,
                started_at, finished_at, result, reason, key, cancel_requested, progress, checkpoint, options, seq
            FROM {schema}.jobs WHERE state = 'running' AND worker = workers.id LIMIT most FOR UPDATE SKIP LOCKED
        ) AS left_over
        WHERE ended AND (which IS NULL OR workers.id = ANY (which))
        LIMIT most;
END $$;
