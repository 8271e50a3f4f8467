-- The statements of the PostgreSQL broker, in the order of the methods of `brokers/base.py`. What writes is a function
-- of migrations/. `{later}` is whether a caller's own transaction commits it.

-- name: record
-- The fields of a job.JobRecord, in their order.
id, task, payload, queue, priority, state, created_at, run_at, expires_at, attempt, token, crashes, worker, started_at,
finished_at, result, reason, key, cancel_requested, progress, checkpoint, options, seq

-- name: enqueue
SELECT * FROM {schema}.enqueue(%(moment)s::float8, %(jobs)s::text, {later})

-- name: enqueue_fresh
SELECT {schema}.enqueue_fresh(%(moment)s::float8, %(jobs)s::text, %(lanes)s::text, {later})

-- name: enqueue_bounded
SELECT * FROM {schema}.enqueue_bounded(%(moment)s::float8, %(jobs)s::text, %(bounds)s::text, {later})

-- name: exchange
SELECT * FROM {schema}.exchange_past_locks(
    %(moment)s::float8, %(ended)s::text, %(others)s::text, %(worker)s::text, %(queues)s::text[], %(limit)s::int,
    %(exclude)s::text[], {later}
)

-- name: complete
SELECT {schema}.complete(%(moment)s::float8, %(ended)s::text, %(others)s::text, {later})

-- name: held
SELECT {record} FROM {schema}.jobs WHERE state = 'running' AND worker = %(worker)s::text

-- name: heartbeat
SELECT * FROM {schema}.heartbeat(%(moment)s::float8, %(beats)s::text)

-- name: stage
SELECT * FROM {schema}.stage(%(moment)s::float8, %(limit)s::int)

-- name: orphans
SELECT * FROM {schema}.orphans(
    least({schema}.clock(%(moment)s::float8), %(asked)s::float8), %(limit)s::int, %(workers)s::text[])

-- name: prune_slot
SELECT {schema}.prune_slot(%(moment)s::float8)

-- name: prune
SELECT * FROM {schema}.prune(%(moment)s::float8, %(limit)s::int, %(max_dead)s::int)

-- name: note
UPDATE {schema}.jobs
SET progress = coalesce(%(progress)s::text, progress), checkpoint = coalesce(%(checkpoint)s::text, checkpoint)
WHERE id = %(id)s::text AND token = %(token)s::int AND state = 'running'
RETURNING id

-- name: get
SELECT * FROM {schema}.get(%(ids)s::text[])

-- name: history
SELECT {schema}.history(%(id)s::text)

-- name: find
SELECT {record} FROM {schema}.stored
WHERE (cardinality(%(states)s::text[]) = 0 OR state = ANY (%(states)s::text[]))
  AND (%(queue)s::text IS NULL OR queue = %(queue)s::text)
  AND (%(task)s::text IS NULL OR task = %(task)s::text)
  AND (%(tag)s::text IS NULL OR strpos({schema}.tags(options), %(tag)s::text) > 0)
  AND (%(error)s::text IS NULL OR strpos(reason, %(error)s::text) > 0
       OR EXISTS (SELECT FROM unnest(history) AS attempt WHERE strpos(attempt, %(error)s::text) > 0))
  AND (%(before)s::text IS NULL OR seq < (SELECT seq FROM {schema}.stored WHERE id = %(before)s::text))
ORDER BY seq DESC LIMIT %(limit)s::int

-- name: cancel
SELECT {schema}.cancel(%(moment)s::float8, %(ids)s::text[], %(reason)s::text, %(keep)s::float8, {later})

-- name: revive
SELECT {schema}.revive(%(moment)s::float8, %(ids)s::text[], {later})

-- name: delete
SELECT {schema}.delete(%(ids)s::text[], {later})

-- name: adopt
SELECT {schema}.adopt(%(jobs)s::text, {later})

-- name: identity
-- Nothing at all, if another made it between the look and the insert: whoever asks again reads it.
WITH made AS (
    INSERT INTO {schema}.identity (line) SELECT true WHERE NOT EXISTS (SELECT FROM {schema}.identity)
    ON CONFLICT DO NOTHING RETURNING name
)
SELECT name FROM made UNION ALL SELECT name FROM {schema}.identity

-- name: queues
SELECT name, paused, max_length, on_full FROM {schema}.queues

-- name: queues_counts
SELECT queue, state, count(*), min(run_at) FROM {schema}.stored GROUP BY queue, state

-- name: tasks
SELECT task, state, count(*), min(run_at) FROM {schema}.stored GROUP BY task, state ORDER BY task

-- name: set_queue_paused
INSERT INTO {schema}.queues (name, paused) VALUES (%(name)s::text, %(paused)s::boolean)
ON CONFLICT (name) DO UPDATE SET paused = excluded.paused
RETURNING CASE WHEN NOT paused THEN {schema}.wake(ARRAY['queue:' || name], ARRAY[1000::bigint], {later}) END

-- name: set_queue_bound
INSERT INTO {schema}.queues (name, max_length, on_full) VALUES (%(name)s::text, %(max_length)s::int, %(on_full)s::text)
ON CONFLICT (name) DO UPDATE SET max_length = excluded.max_length, on_full = excluded.on_full
RETURNING name

-- name: workers
SELECT id, beat, started_at, seen_at, lease_until FROM {schema}.workers WHERE NOT ended ORDER BY started_at, id

-- name: rates
SELECT queue, task, outcome, sum(count)::bigint, sum(seconds) FROM {schema}.rates WHERE minute >= %(minute)s::bigint
GROUP BY queue, task, outcome ORDER BY queue, task, outcome

-- name: ahead
SELECT count(*) FROM (
    SELECT FROM {schema}.jobs AS other, (SELECT seq, queue, priority, run_at FROM {schema}.stored WHERE id = %(id)s::text) AS job
    WHERE other.state = 'queued' AND other.queue = job.queue
      AND (other.priority > job.priority
           OR (other.priority = job.priority AND (other.run_at, other.seq) < (job.run_at, job.seq)))
    LIMIT %(limit)s::int
) AS these

-- name: schedules
SELECT name, schedule, next_at, last_job, paused, declared FROM {schema}.schedules ORDER BY name

-- name: save_schedule
-- An unchanged declaration keeps its next fire: every start of every worker comes through here.
INSERT INTO {schema}.schedules AS old (name, schedule, next_at, declared)
VALUES (%(name)s::text, %(schedule)s::text, %(next_at)s::float8, %(declared)s::boolean)
ON CONFLICT (name) DO UPDATE SET
    next_at = CASE WHEN old.schedule = excluded.schedule THEN old.next_at ELSE excluded.next_at END,
    schedule = excluded.schedule, declared = excluded.declared
RETURNING {schema}.wake(ARRAY['stage'], ARRAY[1::bigint], {later})

-- name: pause_schedule
UPDATE {schema}.schedules SET paused = %(paused)s::boolean WHERE name = %(name)s::text
RETURNING CASE WHEN NOT paused THEN {schema}.wake(ARRAY['stage'], ARRAY[1::bigint], {later}) END

-- name: delete_schedule
DELETE FROM {schema}.schedules WHERE name = %(name)s::text RETURNING name

-- name: advance_schedule
SELECT {schema}.advance_schedule(
    %(moment)s::float8, %(name)s::text, %(seen)s::float8, %(next_at)s::float8, %(last_job)s::text, %(jobs)s::text, {later}
)

-- name: listen
SELECT {schema}.listen(%(topics)s::text[], %(channel)s::text, %(waiter)s::bigint, %(seconds)s::float8)

-- name: listen_end
DELETE FROM {schema}.waiting WHERE channel = %(channel)s::text AND waiter = %(waiter)s::bigint RETURNING topic

-- name: listen_probe
SELECT pg_notify(%(channel)s::text, 'probe')

-- name: listen_left
SELECT waiter, count(*) FROM {schema}.waiting WHERE channel = %(channel)s::text GROUP BY waiter

-- name: wake
SELECT {schema}.wake(ARRAY[%(topic)s::text], ARRAY[1::bigint], false)
