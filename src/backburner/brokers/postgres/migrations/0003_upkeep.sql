-- Upkeep, what people do, and schedules, in the order of the methods of `brokers/base.py`.

-- `beats`: a JSON array of objects. Answers the moment (`kind` now), workers whose lease is lost, and jobs to be stopped.
CREATE FUNCTION {schema}.heartbeat(moment double precision, beats text)
RETURNS TABLE (kind text, name text, reason text, at double precision) LANGUAGE plpgsql
SET lock_timeout = '8s' SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    at double precision := {schema}.clock(moment);
    known text[];
    beating text[];
BEGIN
    WITH given AS MATERIALIZED (
        SELECT * FROM json_to_recordset(beats::json) AS b (worker text, beat text, lease double precision, new boolean)
        ORDER BY worker
    ), registered AS (
        INSERT INTO {schema}.workers AS w (id, beat, started_at, seen_at, lease_until)
        SELECT worker, beat, at, at, at + lease FROM given WHERE new
        ON CONFLICT (id) DO UPDATE
        SET beat = excluded.beat, seen_at = excluded.seen_at, lease_until = excluded.lease_until, ended = false
        RETURNING id
    ), extended AS (
        -- Never brings back a worker whose jobs were rescued.
        UPDATE {schema}.workers SET beat = given.beat, seen_at = at, lease_until = at + lease
        FROM given WHERE id = worker AND NOT new AND NOT ended RETURNING id
    )
    SELECT ARRAY(SELECT id FROM registered UNION ALL SELECT id FROM extended), ARRAY(SELECT worker FROM given)
    INTO known, beating;
    RETURN QUERY SELECT 'now', NULL::text, NULL::text, at;
    RETURN QUERY SELECT 'lost', worker, NULL::text, NULL::double precision
        FROM unnest(beating) AS worker WHERE worker <> ALL (known);
    RETURN QUERY SELECT 'cancel', id, jobs.reason, NULL::double precision
        FROM {schema}.jobs WHERE state = 'running' AND cancel_requested AND worker = ANY (beating);
END $$;

CREATE FUNCTION {schema}.stage(moment double precision, most integer) RETURNS TABLE (count bigint, next_at double precision)
LANGUAGE plpgsql
SET lock_timeout = '8s' SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    at double precision := {schema}.clock(moment);
    queues text[];
    priorities integer[];
    run_ats double precision[];
    counts bigint[];
BEGIN
    WITH moved AS (
        UPDATE {schema}.jobs SET state = 'queued' WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM {schema}.jobs WHERE state IN ('scheduled', 'retrying') AND run_at <= at
            ORDER BY run_at, seq LIMIT most FOR UPDATE SKIP LOCKED
        )) AND state IN ('scheduled', 'retrying')
        RETURNING queue, priority, run_at
    ), line AS (
        SELECT queue, priority, min(run_at) AS run_at, count(*) AS count FROM moved GROUP BY queue, priority
    )
    SELECT array_agg(queue), array_agg(priority), array_agg(run_at), array_agg(count) FROM line
    INTO queues, priorities, run_ats, counts;
    PERFORM {schema}.came(queues, priorities, run_ats, counts, 'infinity', false);
    RETURN QUERY SELECT coalesce((SELECT sum(n) FROM unnest(counts) AS n), 0)::bigint, (
        SELECT run_at FROM {schema}.jobs WHERE state IN ('scheduled', 'retrying') ORDER BY run_at LIMIT 1
    );
END $$;

-- End the expired leases of these workers (NULL: all), and give jobs that they left. Workers that have ended are known
-- for ten minutes more: a claim that was on its way may come to light. So only their jobs are looked at, not all that run.
CREATE FUNCTION {schema}.orphans(moment double precision, most integer, which text[]) RETURNS SETOF {schema}.record
LANGUAGE plpgsql
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
    RETURN QUERY
        SELECT left_over.*
        FROM {schema}.workers
        CROSS JOIN LATERAL (
            SELECT id, task, payload, queue, priority, state, created_at, run_at, expires_at, attempt, token, crashes, worker,
                started_at, finished_at, result, reason, key, cancel_requested, progress, checkpoint, options, seq
            FROM {schema}.jobs WHERE state = 'running' AND worker = workers.id LIMIT most
        ) AS left_over
        WHERE ended AND (which IS NULL OR workers.id = ANY (which))
        LIMIT most;
END $$;

-- Truncate the slot of the ring in which all retention has passed, for good: the one before that of now. It is left for
-- the next time if somebody reads it just now. Answers how many jobs that were.
CREATE FUNCTION {schema}.prune_slot(moment double precision) RETURNS bigint LANGUAGE plpgsql
SET lock_timeout = '200ms'
AS $$
DECLARE
    at double precision := {schema}.clock(moment);
    slot text := format('{schema}.finished_%s', (floor(at / 21600)::bigint + 7) % 8);
    kept boolean;
    gone bigint;
BEGIN
    EXECUTE format('SELECT EXISTS (SELECT FROM %s)', slot) INTO kept;
    IF NOT kept THEN
        RETURN 0;
    END IF;
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', slot);
    EXECUTE format('SELECT count(*), coalesce(max(prune_at), 0) > $1 FROM %s', slot) INTO gone, kept USING at;
    IF kept THEN
        RETURN 0;
    END IF;
    EXECUTE format('DELETE FROM {schema}.keys USING %s AS old WHERE keys.key = old.key AND keys.job_id = old.id', slot);
    EXECUTE format('TRUNCATE %s', slot);
    RETURN gone;
EXCEPTION WHEN lock_not_available THEN
    RETURN 0;
END $$;

-- The backstop of the floors, every ten minutes: a job that waits below one lowers it. While an old snapshot keeps
-- claimed rows from being vacuumed this reads all of them, 0.25 s for a million.
CREATE FUNCTION {schema}.sweep() RETURNS void LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    now double precision := {schema}.clock(NULL);
    lane record;
BEGIN
    FOR lane IN
        SELECT queue, priority, min(floor) AS floor FROM {schema}.lanes GROUP BY queue, priority
        HAVING max(swept_at) < now - 600
    LOOP
        INSERT INTO {schema}.lanes (queue, priority, floor, swept_at)
        SELECT lane.queue, lane.priority, coalesce((
            SELECT run_at FROM {schema}.jobs
            WHERE state = 'queued' AND queue = lane.queue AND priority = lane.priority AND run_at < lane.floor
            ORDER BY run_at LIMIT 1
        ), lane.floor), now;
    END LOOP;
END $$;

-- Delete what may go. Answers one line with the number deleted and `queue` NULL, then one for each queue with dead jobs.
CREATE FUNCTION {schema}.prune(moment double precision, most integer, max_dead integer)
RETURNS TABLE (queue text, dead bigint, trimmed bigint) LANGUAGE plpgsql
SET lock_timeout = '8s' SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    at double precision := {schema}.clock(moment);
    gone text[];
    deep record;
    excess text[];
BEGIN
    WITH old AS (
        DELETE FROM {schema}.finished_rest WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM {schema}.finished_rest WHERE prune_at <= at ORDER BY prune_at LIMIT most
            FOR UPDATE SKIP LOCKED
        )) RETURNING id, key
    )
    SELECT array_agg(id) FILTER (WHERE key IS NOT NULL), count(*) INTO gone, trimmed FROM old;
    DELETE FROM {schema}.keys WHERE job_id = ANY (gone);
    RETURN QUERY SELECT NULL::text, NULL::bigint, trimmed;
    FOR deep IN SELECT jobs.queue, count(*) AS count FROM {schema}.jobs WHERE state = 'dead' GROUP BY jobs.queue LOOP
        excess := NULL;
        IF deep.count > max_dead THEN
            WITH old AS (
                DELETE FROM {schema}.jobs WHERE ctid = ANY (ARRAY(
                    SELECT ctid FROM {schema}.jobs WHERE state = 'dead' AND jobs.queue = deep.queue
                    ORDER BY finished_at, seq LIMIT least(most, deep.count - max_dead) FOR UPDATE SKIP LOCKED
                )) AND state = 'dead' RETURNING id
            )
            SELECT array_agg(id) INTO excess FROM old;
            DELETE FROM {schema}.keys WHERE job_id = ANY (excess);
        END IF;
        trimmed := coalesce(cardinality(excess), 0);
        RETURN QUERY SELECT deep.queue, deep.count - trimmed, trimmed;
    END LOOP;
    DELETE FROM {schema}.rates WHERE minute < floor(at / 60)::bigint - 2 * 24 * 60;
    DELETE FROM {schema}.waiting WHERE until < clock_timestamp();
    PERFORM {schema}.sweep();
END $$;

-- Who waits for a result looks often: planned once, the ten tables of `stored` take half the time.
CREATE FUNCTION {schema}.get(ids text[]) RETURNS SETOF {schema}.record LANGUAGE plpgsql
SET lock_timeout = '8s' SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT id, task, payload, queue, priority, state, created_at, run_at, expires_at, attempt, token, crashes, worker,
            started_at, finished_at, result, reason, key, cancel_requested, progress, checkpoint, options, seq
        FROM {schema}.stored WHERE id = ANY (ids);
END $$;

CREATE FUNCTION {schema}.history(which text) RETURNS SETOF text LANGUAGE plpgsql
SET lock_timeout = '8s' SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
    RETURN QUERY SELECT unnest(stored.history) FROM {schema}.stored WHERE id = which;
END $$;

-- Cancel what waits, ask the workers of what runs. Answers the jobs that were not final.
CREATE FUNCTION {schema}.cancel(moment double precision, ids text[], why text, keep double precision, later boolean)
RETURNS SETOF text LANGUAGE plpgsql
SET lock_timeout = '8s' SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    waiting text[];
    running text[];
    claimers text[];
BEGIN
    -- Locked in one order, and so that none changes its state meanwhile.
    WITH held AS (
        SELECT id, state FROM {schema}.jobs WHERE id = ANY (ids) AND state <> 'dead' ORDER BY seq FOR UPDATE
    )
    SELECT array_agg(id) FILTER (WHERE state <> 'running'), array_agg(id) FILTER (WHERE state = 'running')
    INTO waiting, running FROM held;
    PERFORM {schema}.finish(waiting, why, {schema}.clock(moment), keep, later);
    WITH asked AS (
        UPDATE {schema}.jobs SET cancel_requested = true, reason = why WHERE id = ANY (running) RETURNING worker
    )
    SELECT array_agg(DISTINCT 'worker:' || worker) INTO claimers FROM asked;
    IF claimers IS NOT NULL THEN
        PERFORM {schema}.wake(claimers, array_fill(1::bigint, ARRAY[cardinality(claimers)]), later);
    END IF;
    RETURN QUERY SELECT unnest(waiting || running);
END $$;

-- Queue dead and cancelled jobs again with fresh attempts.
CREATE FUNCTION {schema}.revive(moment double precision, ids text[], later boolean) RETURNS SETOF text LANGUAGE plpgsql
SET lock_timeout = '8s' SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    at double precision;
    queues text[];
    priorities integer[];
    run_ats double precision[];
    counts bigint[];
    revived text[];
BEGIN
    PERFORM pg_current_xact_id();
    at := {schema}.clock(moment);
    WITH cancelled AS (
        DELETE FROM {schema}.finished WHERE id = ANY (ids) AND state = 'cancelled' RETURNING *
    ), back AS (
        INSERT INTO {schema}.jobs (
            id, task, payload, queue, priority, state, created_at, run_at, token, worker, started_at, key, progress,
            checkpoint, options, seq, history
        )
        SELECT id, task, payload, queue, priority, 'queued', created_at, at, token, worker, started_at, key, progress,
               checkpoint, options, seq, history
        FROM cancelled RETURNING id, queue, priority
    ), dead AS (
        UPDATE {schema}.jobs
        SET state = 'queued', run_at = at, attempt = 0, crashes = 0, reason = NULL, finished_at = NULL,
            cancel_requested = false, expires_at = NULL
        WHERE id = ANY (ids) AND state = 'dead' RETURNING id, queue, priority
    ), every AS (
        SELECT * FROM back UNION ALL SELECT * FROM dead
    ), line AS (
        SELECT queue, priority, count(*) AS count FROM every GROUP BY queue, priority
    )
    SELECT (SELECT array_agg(id) FROM every), array_agg(queue), array_agg(priority), array_agg(at), array_agg(count)
    INTO revived, queues, priorities, run_ats, counts FROM line;
    PERFORM {schema}.came(queues, priorities, run_ats, counts, at, later);
    RETURN QUERY SELECT unnest(revived);
END $$;

-- Delete jobs that do not run.
CREATE FUNCTION {schema}.delete(ids text[], later boolean) RETURNS SETOF text LANGUAGE plpgsql
SET lock_timeout = '8s' SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    gone text[];
BEGIN
    PERFORM FROM {schema}.jobs WHERE id = ANY (ids) AND state <> 'running' ORDER BY seq FOR UPDATE;
    WITH live AS (
        DELETE FROM {schema}.jobs WHERE id = ANY (ids) AND state <> 'running' RETURNING id
    ), old AS (
        DELETE FROM {schema}.finished WHERE id = ANY (ids) RETURNING id
    )
    SELECT ARRAY(SELECT id FROM live UNION ALL SELECT id FROM old) INTO gone;
    DELETE FROM {schema}.keys WHERE job_id = ANY (gone);
    PERFORM {schema}.told(gone, later);
    RETURN QUERY SELECT unnest(gone);
END $$;

-- Store jobs of another broker as they are there (a JSON array of objects). Those whose id or key is taken are left out.
CREATE FUNCTION {schema}.adopt(jobs text, later boolean) RETURNS integer LANGUAGE plpgsql
SET lock_timeout = '8s' SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    adopted text[];
    queues text[];
    priorities integer[];
    run_ats double precision[];
    counts bigint[];
BEGIN
    WITH given AS MATERIALIZED (
        SELECT * FROM json_to_recordset(jobs::json) AS g (
            place integer, id text, task text, payload text, queue text, priority integer, state text,
            created_at double precision, run_at double precision, expires_at double precision, attempt integer,
            token integer, crashes integer, worker text, started_at double precision, finished_at double precision,
            reason text, key text, progress text, checkpoint text, options text, history json
        ) WHERE NOT EXISTS (SELECT FROM {schema}.stored WHERE stored.id = g.id)
    ), free AS (
        INSERT INTO {schema}.keys (key, job_id)
        SELECT DISTINCT ON (key) key, id FROM given WHERE key IS NOT NULL ORDER BY key, place
        ON CONFLICT DO NOTHING RETURNING key, job_id
    ), new AS (
        INSERT INTO {schema}.jobs (
            id, task, payload, queue, priority, state, created_at, run_at, expires_at, attempt, token, crashes, worker,
            started_at, finished_at, reason, key, progress, checkpoint, options, history
        )
        SELECT id, task, payload, queue, priority, state, created_at, run_at, expires_at, attempt, token, crashes, worker,
               started_at, finished_at, reason, key, progress, checkpoint, options,
               ARRAY(SELECT json_array_elements_text(history))
        FROM given
        WHERE key IS NULL OR EXISTS (SELECT FROM free WHERE free.key = given.key AND free.job_id = given.id)
        ORDER BY place
        ON CONFLICT (id) DO NOTHING RETURNING id, queue, priority, state, run_at
    ), line AS (
        SELECT queue, priority, min(run_at) AS run_at, count(*) AS count FROM new WHERE state = 'queued'
        GROUP BY queue, priority
    )
    SELECT (SELECT array_agg(id) FROM new), array_agg(queue), array_agg(priority), array_agg(run_at), array_agg(count)
    INTO adopted, queues, priorities, run_ats, counts FROM line;
    PERFORM {schema}.came(queues, priorities, run_ats, counts, 'infinity', later);
    PERFORM {schema}.wake(ARRAY['stage'], ARRAY[1::bigint], later);
    RETURN coalesce(cardinality(adopted), 0);
END $$;

-- If the next fire still is `seen`: set it, and enqueue the jobs of this one (a JSON array, or NULL).
CREATE FUNCTION {schema}.advance_schedule(
    moment double precision, which text, seen double precision, following double precision, job_id text, jobs text,
    later boolean
) RETURNS boolean LANGUAGE plpgsql
SET lock_timeout = '8s' SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
    UPDATE {schema}.schedules SET next_at = following, last_job = coalesce(job_id, last_job)
    WHERE name = which AND next_at = seen;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF jobs IS NOT NULL THEN
        PERFORM {schema}.enqueue(moment, jobs, later);
    END IF;
    RETURN true;
END $$;

-- Wait for these topics, for a while.
CREATE FUNCTION {schema}.listen(topics text[], listener text, number bigint, seconds double precision) RETURNS void
LANGUAGE sql AS $$
    DELETE FROM {schema}.waiting WHERE channel = listener AND waiter = number;
    INSERT INTO {schema}.waiting (topic, channel, waiter, until)
    SELECT DISTINCT topic, listener, number, clock_timestamp() + make_interval(secs => seconds)
    FROM unnest(topics) AS topic;
$$;
