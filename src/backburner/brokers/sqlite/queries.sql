-- The statements of the SQLite broker, in the order of the methods of `brokers/base.py`.

-- name: record
-- The fields of a job.JobRecord, in their order.
id, task, payload, queue, priority, state, created_at, run_at, expires_at, attempt, token, crashes, worker, started_at,
finished_at, result, reason, key, cancel_requested, progress, checkpoint, options, seq

-- name: enqueue
-- A job whose id or key exists already is left out; the number of rows tells.
INSERT INTO backburner_jobs (id, task, payload, queue, priority, state, created_at, run_at, expires_at, key, options)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING

-- name: enqueue_find
SELECT {record} FROM backburner_jobs WHERE id = :id OR key = :key

-- name: bound_depth
-- Stops counting at the limit, so that a long queue costs no more than its bound.
SELECT count(*) FROM (SELECT 1 FROM backburner_jobs WHERE state = 'queued' AND queue = ? LIMIT ?)

-- name: bound_drained
SELECT coalesce(sum(count), 0) FROM backburner_rates WHERE minute >= ? AND queue = ? AND outcome IN ('succeed', 'die')

-- name: bound_drop
UPDATE backburner_jobs
SET state = 'cancelled', reason = 'dropped: its queue was full', finished_at = :now, prune_at = :now + :keep
WHERE seq IN (
    SELECT seq FROM backburner_jobs WHERE state = 'queued' AND queue = :queue ORDER BY run_at, seq LIMIT :count
)
RETURNING id

-- name: settle
-- Guarded by the claim: the worker, and the token that fences whoever held the job before. One statement for many
-- rows: it runs without Python's global lock, so attempts go on meanwhile (a row at a time, both took turns).
-- The plus keeps SQLite from finding the rows by their worker, which has many.
-- Who asked for a job to be cancelled gave a reason: it stays with a job that goes back.
UPDATE backburner_jobs
SET state = new.value ->> 2, attempt = new.value ->> 3, crashes = new.value ->> 4,
    run_at = coalesce(new.value ->> 5, run_at),
    reason = CASE WHEN cancel_requested AND new.value ->> 7 IS NULL THEN reason ELSE new.value ->> 6 END,
    finished_at = new.value ->> 7, prune_at = new.value ->> 8
FROM json_each(:rows) AS new
WHERE seq = CAST(new.key AS INTEGER) AND token = new.value ->> 0 AND +worker = new.value ->> 1 AND state = 'running'

-- name: settle_succeeded
-- What most settlements are: no index of `run_at` is touched, and less JSON is read.
UPDATE backburner_jobs
SET state = 'succeeded', reason = NULL, result = CAST(new.value ->> 1 AS BLOB), finished_at = new.value ->> 2,
    prune_at = (new.value ->> 2) + :keep
FROM json_each(:rows) AS new
WHERE seq = CAST(new.key AS INTEGER) AND token = new.value ->> 0 AND +worker = :worker AND state = 'running'

-- name: settle_log
INSERT INTO backburner_attempts (job_id, token, attempt) VALUES (?, ?, ?)

-- name: settle_rate
INSERT INTO backburner_rates (minute, queue, task, outcome, count, seconds) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET count = count + excluded.count, seconds = seconds + excluded.seconds

-- name: claim_next
-- Which jobs are next, in order. Here and in `claimed` the answer is one row of JSON: between two rows Python takes its
-- global lock, for which a thread waits 0.2 ms while jobs run.
SELECT json_group_array(seq) FROM (
    SELECT seq FROM backburner_jobs
    WHERE state = 'queued' AND queue = :queue
      AND NOT EXISTS (SELECT 1 FROM backburner_queues WHERE name = :queue AND paused)
      AND EXISTS (SELECT 1 FROM backburner_workers WHERE id = :worker)
    ORDER BY priority DESC, run_at, seq LIMIT :limit
)

-- name: claim_next_excluding
-- Looks past jobs that this worker has no room for, but not for ever: 1,000 of them cost about a millisecond.
SELECT json_group_array(seq) FROM (
    SELECT seq FROM (
        SELECT seq, task FROM backburner_jobs
        WHERE state = 'queued' AND queue = :queue
          AND NOT EXISTS (SELECT 1 FROM backburner_queues WHERE name = :queue AND paused)
          AND EXISTS (SELECT 1 FROM backburner_workers WHERE id = :worker)
        ORDER BY priority DESC, run_at, seq LIMIT 1000
    )
    WHERE task NOT IN (SELECT value FROM json_each(:exclude)) LIMIT :limit
)

-- name: claim
-- A damaged record may say anything: a number that is too large to be counted on would fail the whole claim.
UPDATE backburner_jobs
SET state = 'running', attempt = min(attempt, 1000000000) + 1, token = min(token, 1000000000) + 1, worker = :worker,
    started_at = :now, progress = NULL
WHERE seq IN (SELECT value FROM json_each(:seqs))

-- name: claimed
-- Times are integers, of `schema.TICKS` a second: as numbers of JSON they would lose digits, as text they cost 0.4 µs more.
SELECT json_group_array(json_array(
    id, task, CAST(payload AS TEXT), queue, priority, CAST(created_at * 4194304 AS INTEGER),
    CAST(run_at * 4194304 AS INTEGER), CAST(expires_at * 4194304 AS INTEGER), attempt, token, crashes, reason, key,
    cancel_requested, CAST(checkpoint AS TEXT), CAST(options AS TEXT), seq
))
FROM (SELECT value AS next FROM json_each(:seqs)) CROSS JOIN backburner_jobs ON seq = next

-- name: claimed_rows
SELECT {record} FROM (SELECT value AS next FROM json_each(:seqs)) CROSS JOIN backburner_jobs ON seq = next

-- name: held
SELECT {record} FROM backburner_jobs WHERE state = 'running' AND worker = ?

-- name: heartbeat_new
INSERT INTO backburner_workers (id, beat, started_at, seen_at, lease_until) VALUES (:worker, :beat, :now, :now, :lease_until)
ON CONFLICT DO UPDATE SET beat = excluded.beat, seen_at = excluded.seen_at, lease_until = excluded.lease_until

-- name: heartbeat
-- Never brings back a worker whose jobs were rescued: its row is gone then.
UPDATE backburner_workers SET beat = :beat, seen_at = :now, lease_until = :lease_until WHERE id = :worker

-- name: heartbeat_cancels
SELECT id, reason FROM backburner_jobs
WHERE state = 'running' AND worker IN (SELECT value FROM json_each(?)) AND cancel_requested

-- name: stage_next
SELECT run_at FROM backburner_jobs WHERE state IN ('scheduled', 'retrying') ORDER BY run_at LIMIT 1

-- name: stage
UPDATE backburner_jobs SET state = 'queued'
WHERE seq IN (
    SELECT seq FROM backburner_jobs WHERE state IN ('scheduled', 'retrying') AND run_at <= ? ORDER BY run_at LIMIT ?
)
RETURNING queue

-- name: orphans_expire
DELETE FROM backburner_workers
WHERE lease_until <= :now AND (:workers IS NULL OR id IN (SELECT value FROM json_each(:workers)))

-- name: orphans
SELECT {record} FROM backburner_jobs
WHERE state = 'running' AND worker NOT IN (SELECT id FROM backburner_workers)
  AND (:workers IS NULL OR worker IN (SELECT value FROM json_each(:workers))) LIMIT :limit

-- name: prune_due
SELECT 1 FROM backburner_jobs WHERE prune_at <= ? LIMIT 1

-- name: prune
DELETE FROM backburner_jobs
WHERE seq IN (SELECT seq FROM backburner_jobs WHERE prune_at <= ? ORDER BY prune_at LIMIT ?)
RETURNING id

-- name: prune_dead_counts
SELECT queue, count(*) FROM backburner_jobs WHERE state = 'dead' GROUP BY queue

-- name: prune_dead
DELETE FROM backburner_jobs
WHERE seq IN (SELECT seq FROM backburner_jobs WHERE state = 'dead' AND queue = ? ORDER BY finished_at LIMIT ?)
RETURNING id

-- name: prune_attempts
DELETE FROM backburner_attempts WHERE job_id IN (SELECT value FROM json_each(?))

-- name: prune_rates
DELETE FROM backburner_rates WHERE minute < ?

-- name: note
UPDATE backburner_jobs SET progress = coalesce(:progress, progress), checkpoint = coalesce(:checkpoint, checkpoint)
WHERE id = :id AND token = :token AND state = 'running'

-- name: get
SELECT {record} FROM backburner_jobs WHERE id IN (SELECT value FROM json_each(?))

-- name: get_one
SELECT {record} FROM backburner_jobs WHERE id = ?

-- name: history
SELECT attempt FROM backburner_attempts WHERE job_id = ? ORDER BY token

-- name: find
SELECT {record} FROM backburner_jobs AS job
WHERE (:states = '[]' OR state IN (SELECT value FROM json_each(:states)))
  AND (:queue IS NULL OR queue = :queue)
  AND (:task IS NULL OR task = :task)
  AND (:tag IS NULL OR EXISTS (
      SELECT 1 FROM json_each(iif(json_valid(CAST(options AS TEXT)), CAST(options AS TEXT), '{}'), '$.tags')
      WHERE value = :tag))
  AND (:error IS NULL OR instr(reason, :error) OR EXISTS (
      SELECT 1 FROM backburner_attempts WHERE job_id = job.id AND instr(CAST(attempt AS TEXT), :error)))
  AND (:before IS NULL OR seq < (SELECT seq FROM backburner_jobs WHERE id = :before))
ORDER BY seq DESC LIMIT :limit

-- name: cancel_waiting
UPDATE backburner_jobs SET state = 'cancelled', reason = :reason, finished_at = :now, prune_at = :now + :keep
WHERE id IN (SELECT value FROM json_each(:ids)) AND state IN ('blocked', 'scheduled', 'queued', 'retrying')
RETURNING id

-- name: cancel_running
UPDATE backburner_jobs SET cancel_requested = 1, reason = :reason
WHERE id IN (SELECT value FROM json_each(:ids)) AND state = 'running'
RETURNING id, worker

-- name: revive
UPDATE backburner_jobs
SET state = 'queued', run_at = :now, attempt = 0, crashes = 0, reason = NULL, finished_at = NULL, prune_at = NULL,
    cancel_requested = 0, expires_at = NULL
WHERE id IN (SELECT value FROM json_each(:ids)) AND state IN ('dead', 'cancelled')
RETURNING id, queue

-- name: delete
DELETE FROM backburner_jobs WHERE id IN (SELECT value FROM json_each(?)) AND state != 'running'
RETURNING id

-- name: adopt
INSERT INTO backburner_jobs (
    id, task, payload, queue, priority, state, created_at, run_at, expires_at, attempt, token, crashes, worker, started_at,
    finished_at, reason, key, progress, checkpoint, options)
VALUES (
    :id, :task, :payload, :queue, :priority, :state, :created_at, :run_at, :expires_at, :attempt, :token, :crashes, :worker,
    :started_at, :finished_at, :reason, :key, :progress, :checkpoint, :options)
ON CONFLICT DO NOTHING

-- name: queues_counts
SELECT queue, state, count(*) FROM backburner_jobs GROUP BY queue, state

-- name: queues_oldest
SELECT queue, min(run_at) FROM backburner_jobs WHERE state = 'queued' GROUP BY queue

-- name: identity
SELECT name FROM backburner_identity

-- name: identity_make
INSERT INTO backburner_identity VALUES (1, lower(hex(randomblob(16)))) ON CONFLICT DO NOTHING

-- name: queues
SELECT name, paused, max_length, on_full FROM backburner_queues

-- name: tasks
SELECT task, state, count(*), min(run_at) FROM backburner_jobs GROUP BY task, state ORDER BY task

-- name: set_queue_paused
INSERT INTO backburner_queues (name, paused) VALUES (:name, :paused) ON CONFLICT DO UPDATE SET paused = :paused

-- name: set_queue_bound
INSERT INTO backburner_queues (name, max_length, on_full) VALUES (:name, :max_length, :on_full)
ON CONFLICT DO UPDATE SET max_length = :max_length, on_full = :on_full

-- name: workers
SELECT id, beat, started_at, seen_at, lease_until FROM backburner_workers ORDER BY started_at, id

-- name: rates
SELECT queue, task, outcome, sum(count), sum(seconds) FROM backburner_rates WHERE minute >= ?
GROUP BY queue, task, outcome ORDER BY queue, task, outcome

-- name: ahead
SELECT count(*) FROM (
    SELECT 1 FROM backburner_jobs AS other, (SELECT seq, queue, priority, run_at FROM backburner_jobs WHERE id = :id) AS job
    WHERE other.state = 'queued' AND other.queue = job.queue
      AND (other.priority > job.priority
           OR (other.priority = job.priority AND (other.run_at, other.seq) < (job.run_at, job.seq)))
    LIMIT :limit
)

-- name: schedules
SELECT name, schedule, next_at, last_job, paused, declared FROM backburner_schedules ORDER BY name

-- name: save_schedule
-- An unchanged declaration keeps its next fire: every start of every worker comes through here.
INSERT INTO backburner_schedules (name, schedule, next_at, declared) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    next_at = CASE WHEN schedule = excluded.schedule THEN next_at ELSE excluded.next_at END,
    schedule = excluded.schedule, declared = excluded.declared

-- name: pause_schedule
UPDATE backburner_schedules SET paused = :paused WHERE name = :name

-- name: delete_schedule
DELETE FROM backburner_schedules WHERE name = ?

-- name: advance_schedule
UPDATE backburner_schedules SET next_at = :next_at, last_job = coalesce(:last_job, last_job) WHERE name = :name AND next_at = :seen
