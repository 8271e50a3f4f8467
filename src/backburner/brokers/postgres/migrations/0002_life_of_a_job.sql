-- The life of a job, in the order of the methods of `brokers/base.py`. Each function that Python calls is one statement
-- there, so one round trip and atomic by itself, on its own connection or inside somebody's transaction.
--
-- `moment`: the time of an injected clock; NULL: this server's. `later`: the caller commits, who knows when.
-- Plans are made once a session, and by index: a table that is empty today holds millions tomorrow. (Switching plans off
-- raises their cost, which would call the just-in-time compiler in, for 60 ms: it is off, too.)

CREATE FUNCTION {schema}.clock(moment double precision) RETURNS double precision LANGUAGE sql VOLATILE
AS $$ SELECT coalesce(moment, extract(epoch FROM clock_timestamp())::double precision) $$;

-- Wake so many of those who wait for each topic. Nobody waits: no NOTIFY, which would make commits queue up.
-- Whoever comes to wait before a later commit would be missed, so such a transaction tells every listener.
CREATE FUNCTION {schema}.wake(topics text[], counts bigint[], later boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    listener record;
BEGIN
    IF later THEN
        PERFORM pg_notify('{channel}', CASE WHEN octet_length(topic) < 4000 THEN topic ELSE '' END)
        FROM unnest(topics) AS topic;
    ELSIF EXISTS (SELECT FROM {schema}.waiting) THEN
        FOR listener IN
            DELETE FROM {schema}.waiting WHERE ctid = ANY (ARRAY(
                SELECT chosen.ctid
                FROM unnest(topics, counts) AS wanted (topic, count)
                CROSS JOIN LATERAL (
                    SELECT w.ctid FROM {schema}.waiting AS w
                    WHERE w.topic = wanted.topic AND w.until > clock_timestamp()
                    LIMIT wanted.count FOR UPDATE SKIP LOCKED
                ) AS chosen
            ))
            RETURNING channel, waiter, topic
        LOOP
            PERFORM pg_notify(
                listener.channel,
                listener.waiter || CASE WHEN octet_length(listener.topic) < 4000 THEN ' ' || listener.topic ELSE '' END
            );
        END LOOP;
    END IF;
END $$;

-- Jobs came to wait in these lanes, the first of each due at `run_ats`. No floor may be above that. One that is about to
-- rise cannot always be seen from here: whoever comes from the past says so in any case.
CREATE FUNCTION {schema}.came(
    queues text[], priorities integer[], run_ats double precision[], counts bigint[], at double precision, later boolean
) RETURNS void LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    IF queues IS NOT NULL THEN
        INSERT INTO {schema}.lanes (queue, priority, floor)
        SELECT queue, priority, run_at FROM unnest(queues, priorities, run_ats) AS new (queue, priority, run_at)
        WHERE run_at < at OR NOT EXISTS (
            SELECT FROM {schema}.lanes AS lane
            WHERE lane.queue = new.queue AND lane.priority = new.priority
              AND lane.floor <= new.run_at AND coalesce(lane.next, lane.floor) <= new.run_at
        );
        PERFORM {schema}.wake(ARRAY(SELECT 'queue:' || queue FROM unnest(queues) AS queue), counts, later);
    END IF;
END $$;

-- The jobs of an enqueue as rows; `place` counts from 0.
CREATE FUNCTION {schema}.given(jobs text) RETURNS TABLE (
    id text, task text, payload text, queue text, priority integer, run_at double precision, delay double precision,
    expires_at double precision, expires_in double precision, key text, options text, place bigint
) LANGUAGE sql STABLE AS $$
    SELECT g.id, g.task, g.payload, g.queue, g.priority, g.run_at, g.delay, g.expires_at, g.expires_in, g.key, g.options,
           g.ordinality - 1
    FROM ROWS FROM (json_to_recordset(jobs::json) AS (
        id text, task text, payload text, queue text, priority integer, run_at double precision,
        delay double precision, expires_at double precision, expires_in double precision, key text, options text
    )) WITH ORDINALITY AS g
$$;

-- Store new jobs (a JSON array of objects). Answers one line with the moment alone when all are new, else one line
-- for each that is not, with the job that had its id or its key.
CREATE FUNCTION {schema}.enqueue(moment double precision, jobs text, later boolean) RETURNS SETOF {schema}.answer
LANGUAGE plpgsql
SET lock_timeout = '8s' SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    at double precision;
    total bigint;
    added text[];
    scheduled bigint;
    queues text[];
    priorities integer[];
    run_ats double precision[];
    counts bigint[];
    there text[];
BEGIN
    -- The transaction gets its number before the time is read: see `rise`.
    PERFORM pg_current_xact_id();
    at := {schema}.clock(moment);
    WITH given AS MATERIALIZED (
        SELECT id, task, payload, queue, priority, key, options, place,
               CASE WHEN delay IS NOT NULL THEN at + greatest(delay, 0) ELSE coalesce(run_at, at) END AS run_at,
               CASE WHEN expires_in IS NOT NULL THEN at + expires_in ELSE expires_at END AS expires_at
        FROM {schema}.given(jobs)
    ), free AS (
        INSERT INTO {schema}.keys (key, job_id)
        SELECT DISTINCT ON (key) key, id FROM given WHERE key IS NOT NULL ORDER BY key, place
        ON CONFLICT DO NOTHING RETURNING key, job_id
    ), new AS (
        INSERT INTO {schema}.jobs (id, task, payload, queue, priority, state, created_at, run_at, expires_at, key, options)
        SELECT id, task, payload, queue, priority, CASE WHEN run_at > at THEN 'scheduled' ELSE 'queued' END, at, run_at,
               expires_at, key, options
        FROM given
        WHERE key IS NULL OR EXISTS (SELECT FROM free WHERE free.key = given.key AND free.job_id = given.id)
        ORDER BY place
        ON CONFLICT (id) DO NOTHING RETURNING id, queue, priority, state, run_at
    ), line AS (
        SELECT queue, priority, min(run_at) AS run_at, count(*) AS count FROM new WHERE state = 'queued'
        GROUP BY queue, priority
    )
    SELECT (SELECT count(*) FROM given), every.*, lines.*
    FROM (SELECT coalesce(array_agg(id), '{}'), count(*) FILTER (WHERE state = 'scheduled') FROM new) AS every,
         (SELECT array_agg(queue), array_agg(priority), array_agg(run_at), array_agg(count) FROM line) AS lines
    INTO total, added, scheduled, queues, priorities, run_ats, counts;
    PERFORM {schema}.came(queues, priorities, run_ats, counts, at, later);
    IF scheduled > 0 THEN
        PERFORM {schema}.wake(ARRAY['stage'], ARRAY[1::bigint], later);
    END IF;
    there := ARRAY(
        SELECT id FROM unnest(added) AS new
        CROSS JOIN LATERAL (SELECT id FROM {schema}.finished WHERE finished.id = new LIMIT 1) AS old
    );
    IF cardinality(added) = total AND cardinality(there) = 0 THEN
        RETURN QUERY SELECT NULL::integer, at, NULL::text, (NULL::{schema}.record).*;
        RETURN;
    END IF;
    DELETE FROM {schema}.jobs WHERE id = ANY (there);
    added := ARRAY(SELECT new FROM unnest(added) AS new WHERE new <> ALL (there));
    -- A key that was free, for a job that was not new.
    DELETE FROM {schema}.keys USING {schema}.given(jobs) AS given
    WHERE keys.key = given.key AND keys.job_id = given.id
      AND NOT EXISTS (SELECT FROM {schema}.stored WHERE stored.id = given.id AND stored.key = given.key);
    -- Without a job (`id` NULL) where the holder of the key was deleted just now.
    RETURN QUERY
        SELECT given.place::integer, at, NULL::text, same.*
        FROM (
            SELECT id, key, place, row_number() OVER (PARTITION BY id ORDER BY place) AS nth FROM {schema}.given(jobs)
        ) AS given
        LEFT JOIN LATERAL (
            SELECT id, task, payload, queue, priority, state, created_at, run_at, expires_at, attempt, token, crashes, worker,
                started_at, finished_at, result, reason, key, cancel_requested, progress, checkpoint, options, seq
            FROM {schema}.stored AS held
            WHERE held.id = ANY (ARRAY[given.id, (SELECT job_id FROM {schema}.keys WHERE key = given.key)])
            ORDER BY held.seq + 0 LIMIT 1 -- by `id`: all that is stored is not to be read in the order of `seq`
        ) AS same ON true
        WHERE given.id <> ALL (added) OR nth > 1;
END $$;

-- The same for queues with a maximal length, which it keeps or changes nothing. `bounds`: a JSON array of objects.
-- `place` -1: it is full, and `note` is a JSON array of its name, how many it
-- holds, how many are too many, and how many left it lately.
CREATE FUNCTION {schema}.enqueue_bounded(moment double precision, jobs text, bounds text, later boolean)
RETURNS SETOF {schema}.answer LANGUAGE plpgsql
SET lock_timeout = '8s' SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    answers {schema}.answer[];
    bound record;
    at double precision := {schema}.clock(moment);
    held bigint;
    new bigint;
    note text;
BEGIN
    IF NOT later THEN -- one at a time counts; in a caller's transaction nobody can be made to wait so long
        PERFORM pg_advisory_xact_lock(hashtextextended('{schema}.' || queue, 0))
        FROM (SELECT queue FROM json_to_recordset(bounds::json) AS b (queue text) ORDER BY queue) AS b;
    END IF;
    BEGIN
        answers := ARRAY(SELECT answer FROM {schema}.enqueue(moment, jobs, later) AS answer);
        at := answers[1].moment;
        FOR bound IN
            SELECT * FROM json_to_recordset(bounds::json) AS b (
                queue text, max_length bigint, drops boolean, keep double precision
            ) ORDER BY drops, queue
        LOOP
            SELECT count(*) INTO new FROM {schema}.given(jobs) AS given
            WHERE queue = bound.queue
              AND NOT EXISTS (SELECT FROM unnest(answers) AS answer WHERE answer.place = given.place)
              AND EXISTS (SELECT FROM {schema}.jobs WHERE jobs.id = given.id AND jobs.state = 'queued');
            CONTINUE WHEN new = 0;
            SELECT count(*) INTO held FROM (
                SELECT FROM {schema}.jobs WHERE state = 'queued' AND queue = bound.queue LIMIT bound.max_length + new
            ) AS these;
            CONTINUE WHEN held <= bound.max_length;
            IF NOT bound.drops OR new > bound.max_length THEN
                note := json_build_array(bound.queue, held - new, held - bound.max_length, (
                    SELECT coalesce(sum(count), 0) FROM {schema}.rates
                    WHERE minute >= floor(at / 60)::bigint - 5 AND queue = bound.queue AND outcome IN ('succeed', 'die')
                ));
                RAISE EXCEPTION 'the queue is full' USING ERRCODE = 'BB002';
            END IF;
            PERFORM {schema}.finish(
                ARRAY(SELECT id FROM {schema}.jobs WHERE state = 'queued' AND queue = bound.queue
                      ORDER BY run_at, seq LIMIT held - bound.max_length FOR UPDATE SKIP LOCKED),
                'dropped: its queue was full', at, bound.keep, later
            );
        END LOOP;
    EXCEPTION WHEN SQLSTATE 'BB002' THEN
        RETURN QUERY SELECT -1, at, note, (NULL::{schema}.record).*;
        RETURN;
    END;
    RETURN QUERY SELECT * FROM unnest(answers);
END $$;

-- Cancel jobs that wait: they move to the finished ones.
CREATE FUNCTION {schema}.finish(
    ids text[], why text, at double precision, keep double precision, later boolean
) RETURNS void LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    gone text[];
BEGIN
    WITH old AS (
        DELETE FROM {schema}.jobs WHERE id = ANY (ids) AND state IN ('blocked', 'scheduled', 'queued', 'retrying')
        RETURNING *
    ), kept AS (
        INSERT INTO {schema}.finished (
            id, task, payload, queue, priority, state, created_at, run_at, expires_at, attempt, token, crashes, worker,
                started_at, finished_at, result, reason, key, cancel_requested, progress, checkpoint, options, seq,
            history, prune_at, slot
        )
        SELECT id, task, payload, queue, priority, 'cancelled', created_at, run_at, expires_at, attempt, token, crashes,
               worker, started_at, at, result, why, key, cancel_requested, progress, checkpoint, options, seq,
               history, at + keep, {schema}.slot(at, keep)
        FROM old RETURNING id
    )
    SELECT array_agg(id) INTO gone FROM kept;
    PERFORM {schema}.told(gone, later);
END $$;

-- These jobs are final: wake who waits for them.
CREATE FUNCTION {schema}.told(ids text[], later boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF later OR EXISTS (SELECT FROM {schema}.waiting) THEN
        PERFORM {schema}.wake(array_agg('job:' || id), array_agg(1000::bigint), later) FROM unnest(ids) AS id;
    END IF;
END $$;

-- Where in the ring a finished job is kept: the quarter of a day in which it may go, if it may not go soon, nor late.
CREATE FUNCTION {schema}.slot(at double precision, keep double precision) RETURNS smallint LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN keep BETWEEN 43200 AND 129600 THEN (floor((at + keep) / 21600)::bigint % 8)::smallint END
$$;

-- Settle claims that still hold: `ended` jobs have succeeded or were cancelled, and move; `others` stay (JSON arrays of
-- objects). `follow` is an array of jobs to enqueue with it. Answers the places of those that were refused.
-- `state || ''`: the rows are to be found by `seq`. The planner would rather read all that is running, and join that:
-- 500 rows in 13 ms.
CREATE FUNCTION {schema}.settle(moment double precision, ended text, others text, later boolean) RETURNS integer[]
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    refused integer[] := '{}';
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
                LIMIT 1 FOR UPDATE
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
        WHERE seq = new.seq AND token = new.token AND worker = new.worker AND state || '' = 'running'
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
    RETURN refused;
END $$;

-- Claim up to `most` jobs, queue by queue in the order given, priority by priority.
CREATE FUNCTION {schema}.claim(at double precision, claimer text, names text[], most integer, without text[])
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
                SET state = 'running', attempt = attempt + 1, token = token + 1, worker = claimer, started_at = at,
                    progress = NULL
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

-- Let the floor of a lane rise to the first job that waits there.
-- 1. What can be seen now is noted as the next floor, with the number that the next transaction will get.
-- 2. When all transactions before that have ended, no job below can come to light any more: every later one reads its
--    time after it got its number, or says that it comes from the past (`lower`).
-- 3. Then the next floor is the floor, unless a job has come to light below.
CREATE FUNCTION {schema}.rise(at double precision, name text, rank integer) RETURNS void LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    ended xid8 := pg_snapshot_xmin(pg_current_snapshot());
    mine tid[] := ARRAY(
        SELECT ctid FROM {schema}.lanes WHERE queue = name AND priority = rank FOR UPDATE SKIP LOCKED
    );
    low double precision;
    first double precision;
    swept double precision;
BEGIN
    IF cardinality(mine) < (SELECT count(*) FROM {schema}.lanes WHERE queue = name AND priority = rank) THEN
        RETURN; -- another session is at it
    END IF;
    low := (SELECT min(floor) FROM {schema}.lanes WHERE ctid = ANY (mine));
    first := least((
        SELECT run_at FROM {schema}.jobs WHERE state = 'queued' AND queue = name AND priority = rank AND run_at >= low
        ORDER BY run_at LIMIT 1
    ), at); -- one that was adopted may be due later than now, by another clock
    low := (
        SELECT min(CASE WHEN horizon <= ended THEN least(next, first) ELSE floor END)
        FROM {schema}.lanes WHERE ctid = ANY (mine)
    );
    swept := (SELECT max(swept_at) FROM {schema}.lanes WHERE ctid = ANY (mine));
    DELETE FROM {schema}.lanes WHERE ctid = ANY (mine[2:]);
    UPDATE {schema}.lanes
    SET floor = low, swept_at = swept, next = greatest(first, low), horizon = pg_snapshot_xmax(pg_current_snapshot()),
        looked_at = extract(epoch FROM clock_timestamp())
    WHERE ctid = mine[1];
END $$;

-- The hot path: settle these and claim those. A refused settlement is a line without an id; `seq` is its place.
CREATE FUNCTION {schema}.exchange(
    moment double precision, ended text, others text, claimer text, names text[], most integer, without text[], later boolean
) RETURNS SETOF {schema}.record LANGUAGE plpgsql
SET lock_timeout = '8s' SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    refused integer[];
BEGIN
    refused := {schema}.settle(moment, ended, others, later);
    IF refused <> '{}' THEN
        RETURN QUERY SELECT (jsonb_populate_record(NULL::{schema}.record, jsonb_build_object('seq', n))).*
        FROM unnest(refused) AS n;
    END IF;
    IF claimer IS NOT NULL THEN
        RETURN QUERY SELECT * FROM {schema}.claim({schema}.clock(moment), claimer, names, most, without);
    END IF;
END $$;

-- Settle one claim in the caller's transaction. If it no longer holds, that transaction cannot be committed.
CREATE FUNCTION {schema}.complete(moment double precision, ended text, others text, later boolean) RETURNS void
LANGUAGE plpgsql
SET lock_timeout = '8s' SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
    IF cardinality({schema}.settle(moment, ended, others, later)) > 0 THEN
        RAISE EXCEPTION 'the job is owned by another attempt' USING ERRCODE = 'BB001';
    END IF;
END $$;
