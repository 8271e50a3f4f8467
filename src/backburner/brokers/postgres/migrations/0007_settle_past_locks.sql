-- A settlement waits for no lock. A task that completes in a transaction of its own and leaves that open has its job's row
-- locked, and all that was settled and claimed with it waited, too.

-- The claims that these documents of `settle` mean, by their places.
CREATE FUNCTION {schema}.claims(ended text, others text)
RETURNS TABLE (n integer, seq bigint, token integer, worker text) LANGUAGE sql STABLE AS $$
    SELECT * FROM json_to_recordset(coalesce(ended, '[]')::json) AS g (n integer, seq bigint, token integer, worker text)
    UNION ALL
    SELECT * FROM json_to_recordset(coalesce(others, '[]')::json) AS g (n integer, seq bigint, token integer, worker text)
$$;

-- Settle claims that still hold: `ended` jobs have succeeded or were cancelled, and move; `others` stay (JSON arrays of
-- objects). `follow` is an array of jobs to enqueue with it. Answers the places of those that were refused, and of those
-- whose row somebody else's transaction has locked just now: nothing was done of these, and they may come again.
-- `state || ''`: the rows are to be found by `seq`. The planner would rather read all that is running, and join that:
-- 500 rows in 13 ms.
CREATE FUNCTION {schema}.settle_past_locks(
    moment double precision, ended text, others text, later boolean, OUT refused integer[], OUT locked integer[]
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    ids text[];
    follows text[];
    new record;
    job record;
    timed boolean := false;
    queues text[];
    priorities integer[];
    run_ats double precision[];
    counts bigint[];
BEGIN
    refused := '{}';
    locked := '{}';
    IF ended IS NOT NULL THEN
        WITH given AS MATERIALIZED (
            SELECT * FROM json_to_recordset(ended::json) AS g (
                n integer, seq bigint, token integer, worker text, verb text, now double precision,
                keep double precision, result text, reason text, log text, follow json
            )
        ), held AS MATERIALIZED (
            SELECT given.n, given.verb, given.now, given.keep, given.result AS new_result, given.reason AS new_reason,
                   given.log, given.follow, job.*
            FROM given CROSS JOIN LATERAL (
                SELECT * FROM {schema}.jobs
                WHERE seq = given.seq AND token = given.token AND worker = given.worker AND state || '' = 'running'
                LIMIT 1 FOR UPDATE SKIP LOCKED
            ) AS job
        ), gone AS (
            -- Not by `ctid`: of a row that changed just before it was locked, this statement does not see that one.
            DELETE FROM {schema}.jobs WHERE seq = ANY (ARRAY(SELECT seq FROM held))
        ), kept AS (
            INSERT INTO {schema}.finished (
                id, task, payload, queue, priority, state, created_at, run_at, expires_at, attempt, token, crashes, worker,
                started_at, finished_at, result, reason, key, cancel_requested, progress, checkpoint, options, seq,
                history, prune_at, slot
            )
            SELECT id, task, payload, queue, priority, CASE verb WHEN 'succeed' THEN 'succeeded' ELSE 'cancelled' END,
                   created_at, run_at, expires_at, attempt, token, crashes, worker, started_at, now, new_result, new_reason,
                   key, cancel_requested, progress, checkpoint, options, seq,
                   CASE WHEN log IS NULL THEN history ELSE array_append(history, log) END, now + keep,
                   {schema}.slot(now, keep)
            FROM held
        ), counted AS (
            INSERT INTO {schema}.rates AS rate (minute, queue, task, outcome, session, count, seconds)
            SELECT floor(now / 60)::bigint, queue, task, verb, pg_backend_pid(), count(*), sum(now - coalesce(started_at, now))
            FROM held GROUP BY 1, 2, 3, 4
            ON CONFLICT (minute, queue, task, outcome, session)
            DO UPDATE SET count = rate.count + excluded.count, seconds = rate.seconds + excluded.seconds
        )
        SELECT (SELECT array_agg(id) FROM held),
               (SELECT array_agg(follow::text ORDER BY n) FROM held WHERE follow IS NOT NULL),
               ARRAY(SELECT n FROM given WHERE n NOT IN (SELECT n FROM held))
        INTO ids, follows, refused;
    END IF;
    FOR new IN
        SELECT * FROM json_to_recordset(coalesce(others, '[]')::json) AS g (
            n integer, seq bigint, token integer, worker text, verb text, now double precision, state text,
            attempt integer, crashes integer, run_at double precision, reason text, log text, follow json
        )
    LOOP
        -- Who asked for a job to be cancelled gave a reason: it stays with a job that goes back.
        UPDATE {schema}.jobs
        SET state = new.state, attempt = new.attempt, crashes = new.crashes, run_at = new.run_at,
            reason = CASE WHEN cancel_requested AND new.state <> 'dead' THEN reason ELSE new.reason END,
            finished_at = CASE WHEN new.state = 'dead' THEN new.now END,
            history = CASE WHEN new.log IS NULL THEN history ELSE array_append(history, new.log) END
        WHERE seq = (
            SELECT seq FROM {schema}.jobs
            WHERE seq = new.seq AND token = new.token AND worker = new.worker AND state || '' = 'running'
            LIMIT 1 FOR UPDATE SKIP LOCKED
        )
        RETURNING id, queue, priority, task, started_at INTO job;
        IF NOT FOUND THEN
            refused := refused || new.n;
            CONTINUE;
        END IF;
        INSERT INTO {schema}.rates AS rate (minute, queue, task, outcome, session, count, seconds)
        VALUES (floor(new.now / 60), job.queue, job.task, new.verb, pg_backend_pid(), 1, new.now - coalesce(job.started_at, new.now))
        ON CONFLICT (minute, queue, task, outcome, session)
        DO UPDATE SET count = rate.count + excluded.count, seconds = rate.seconds + excluded.seconds;
        IF new.follow IS NOT NULL THEN
            follows := follows || new.follow::text;
        END IF;
        IF new.state = 'queued' THEN
            queues := queues || job.queue;
            priorities := priorities || job.priority;
            run_ats := run_ats || new.run_at;
        ELSIF new.state = 'dead' THEN
            ids := ids || job.id;
        ELSE
            timed := true;
        END IF;
    END LOOP;
    PERFORM {schema}.told(ids, later);
    IF queues IS NOT NULL THEN
        SELECT array_agg(queue), array_agg(priority), array_agg(run_at), array_agg(count)
        INTO queues, priorities, run_ats, counts
        FROM (SELECT queue, priority, min(run_at) AS run_at, count(*) AS count
              FROM unnest(queues, priorities, run_ats) AS back (queue, priority, run_at) GROUP BY queue, priority) AS line;
        PERFORM {schema}.came(queues, priorities, run_ats, counts, 'infinity', later);
    END IF;
    IF timed THEN
        PERFORM {schema}.wake(ARRAY['stage'], ARRAY[1::bigint], later);
    END IF;
    PERFORM {schema}.enqueue(moment, follow, later) FROM unnest(follows) AS follow;
    IF refused <> '{}' THEN -- what is still there as it was claimed was locked
        locked := ARRAY(
            SELECT n FROM {schema}.claims(ended, others) AS given
            WHERE n = ANY (refused) AND EXISTS (
                SELECT FROM {schema}.jobs
                WHERE seq = given.seq AND token = given.token AND worker = given.worker AND state || '' = 'running'
            )
        );
        refused := ARRAY(SELECT n FROM unnest(refused) AS n WHERE n <> ALL (locked));
    END IF;
END $$;

-- The same, for who waits for the locks: a caller's own transaction, and workers of an older version.
CREATE OR REPLACE FUNCTION {schema}.settle(moment double precision, ended text, others text, later boolean)
RETURNS integer[] LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM (SELECT * FROM {schema}.claims(ended, others) ORDER BY seq) AS given CROSS JOIN LATERAL (
        SELECT FROM {schema}.jobs
        WHERE seq = given.seq AND token = given.token AND worker = given.worker AND state || '' = 'running'
        LIMIT 1 FOR UPDATE
    ) AS job;
    RETURN (SELECT refused FROM {schema}.settle_past_locks(moment, ended, others, later));
END $$;

-- The hot path: settle these and claim those. A line without an id is a settlement that was not done; `seq` is its place,
-- and `state` is `locked` if it may come again.
CREATE FUNCTION {schema}.exchange_past_locks(
    moment double precision, ended text, others text, claimer text, names text[], most integer, without text[], later boolean
) RETURNS SETOF {schema}.record LANGUAGE plpgsql
SET lock_timeout = '8s' SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    settled record;
BEGIN
    settled := {schema}.settle_past_locks(moment, ended, others, later);
    IF settled.refused <> '{}' OR settled.locked <> '{}' THEN
        RETURN QUERY
            SELECT (jsonb_populate_record(NULL::{schema}.record, jsonb_build_object('seq', n, 'state', why))).*
            FROM (
                SELECT unnest(settled.refused) AS n, NULL AS why UNION ALL SELECT unnest(settled.locked), 'locked'
            ) AS undone;
    END IF;
    IF claimer IS NOT NULL THEN
        RETURN QUERY SELECT * FROM {schema}.claim({schema}.clock(moment), claimer, names, most, without);
    END IF;
END $$;
