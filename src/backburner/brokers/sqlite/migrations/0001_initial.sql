-- Jobs in every state share one table. Each partial index holds only the jobs of one concern, so that a
-- claim costs the same with ten jobs waiting and ten million finished.
CREATE TABLE backburner_jobs (
    seq              INTEGER PRIMARY KEY,   -- the order of arrival
    id               TEXT    NOT NULL UNIQUE,
    task             TEXT    NOT NULL,
    queue            TEXT    NOT NULL,
    priority         INTEGER NOT NULL,
    state            TEXT    NOT NULL,
    payload          BLOB    NOT NULL,
    created_at       REAL    NOT NULL,
    run_at           REAL    NOT NULL,      -- when it is due, and its place in line
    expires_at       REAL,
    attempt          INTEGER NOT NULL DEFAULT 0,
    token            INTEGER NOT NULL DEFAULT 0,
    crashes          INTEGER NOT NULL DEFAULT 0,
    worker           TEXT,
    started_at       REAL,
    finished_at      REAL,
    prune_at         REAL,
    result           BLOB,
    reason           TEXT,
    key              TEXT,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    progress         BLOB,
    checkpoint       BLOB,
    options          BLOB
) STRICT;

CREATE INDEX backburner_jobs_queued ON backburner_jobs (queue, priority DESC, run_at) WHERE state = 'queued';
CREATE INDEX backburner_jobs_due ON backburner_jobs (run_at) WHERE state IN ('scheduled', 'retrying');
CREATE INDEX backburner_jobs_running ON backburner_jobs (worker) WHERE state = 'running';
CREATE INDEX backburner_jobs_finished ON backburner_jobs (prune_at) WHERE prune_at IS NOT NULL;
CREATE INDEX backburner_jobs_dead ON backburner_jobs (queue, finished_at) WHERE state = 'dead';
CREATE UNIQUE INDEX backburner_jobs_key ON backburner_jobs (key) WHERE key IS NOT NULL;

-- The attempts that did not simply succeed.
CREATE TABLE backburner_attempts (
    job_id  TEXT NOT NULL,
    token   INTEGER NOT NULL,
    attempt BLOB NOT NULL,                  -- lifecycle.Attempt as JSON
    PRIMARY KEY (job_id, token)
) STRICT, WITHOUT ROWID;

CREATE TABLE backburner_workers (
    id          TEXT PRIMARY KEY,
    beat        BLOB NOT NULL,              -- base.Beat as JSON
    started_at  REAL NOT NULL,
    seen_at     REAL NOT NULL,
    lease_until REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE backburner_queues (
    name       TEXT PRIMARY KEY,
    paused     INTEGER NOT NULL DEFAULT 0,
    max_length INTEGER,
    on_full    TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE backburner_schedules (
    name     TEXT PRIMARY KEY,
    schedule BLOB NOT NULL,                 -- schedule.Schedule as JSON
    next_at  REAL,
    last_job TEXT,
    paused   INTEGER NOT NULL DEFAULT 0,
    declared INTEGER NOT NULL DEFAULT 1
) STRICT, WITHOUT ROWID;

-- What ended in each minute, for rates. One row a minute, queue, task and outcome.
CREATE TABLE backburner_rates (
    minute  INTEGER NOT NULL,
    queue   TEXT NOT NULL,
    task    TEXT NOT NULL,
    outcome TEXT NOT NULL,
    count   INTEGER NOT NULL,
    seconds REAL NOT NULL,
    PRIMARY KEY (minute, queue, task, outcome)
) STRICT, WITHOUT ROWID;
