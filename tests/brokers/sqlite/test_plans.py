"""A statement's cost does not grow with jobs that it does not concern: each uses its index."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from backburner.brokers.sqlite import schema
from backburner.brokers.sqlite.database import SQL

BY_ID = "sqlite_autoindex_backburner_jobs_1 (id=?)"
# On the path of jobs: by which index each finds its rows.
HOT = {
    "enqueue_find": {BY_ID, "backburner_jobs_key (key=?)"},
    "bound_depth": {"backburner_jobs_queued (queue=?)"},
    "claim_next": {"backburner_jobs_queued (queue=?)"},
    "claim_next_excluding": {"backburner_jobs_queued (queue=?)"},
    "held": {"backburner_jobs_running (worker=?)"},
    "heartbeat_cancels": {"backburner_jobs_running (worker=?)"},
    "stage_next": {"backburner_jobs_due"},
    "stage": {"backburner_jobs_due (run_at<?)"},
    "orphans": {"backburner_jobs_running"},
    "prune_due": {"backburner_jobs_finished (prune_at<?)"},
    "prune": {"backburner_jobs_finished (prune_at<?)"},
    "prune_dead_counts": {"backburner_jobs_dead"},
    "prune_dead": {"backburner_jobs_dead (queue=?)"},
    "note": {BY_ID},
    "get": {BY_ID},
    "get_one": {BY_ID},
    "cancel_waiting": {BY_ID},
    "cancel_running": {BY_ID},
    "revive": {BY_ID},
    "delete": {BY_ID},
    "queues_oldest": {"backburner_jobs_queued"},
    "ahead": {BY_ID, "backburner_jobs_queued (queue=?)"},
}
# By the number of the row, which needs no index.
DIRECT = {"claim", "claimed", "claimed_rows", "settle", "settle_succeeded"}
# Sorts what waits in one queue, which is bounded: the oldest may have any priority.
SORTS = {"bound_drop": {"backburner_jobs_queued (queue=?)"}}
# Asked for by people, who wait a moment.
SCANS = {"find", "queues_counts", "tasks"}
# Read no jobs.
ELSEWHERE = {
    "enqueue",
    "adopt",
    "bound_drained",
    "settle_log",
    "settle_rate",
    "heartbeat_new",
    "heartbeat",
    "orphans_expire",
    "prune_attempts",
    "prune_rates",
    "history",
    "identity",
    "identity_make",
    "queues",
    "set_queue_paused",
    "set_queue_bound",
    "workers",
    "rates",
    "schedules",
    "save_schedule",
    "pause_schedule",
    "delete_schedule",
    "advance_schedule",
}
FRAGMENTS = {"record"}


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        schema.migrate(connection, "memory")
        yield connection


def plan(connection: sqlite3.Connection, name: str) -> list[str]:
    text = re.sub(r"\?\d*|:\w+", "NULL", SQL[name])
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}")]


def test_every_statement_is_looked_at_here() -> None:
    assert HOT.keys() | DIRECT | SORTS.keys() | SCANS | ELSEWHERE | FRAGMENTS == SQL.keys()


@pytest.mark.parametrize("name", [*HOT, *SORTS])
def test_a_hot_statement_finds_its_jobs_by_the_index_made_for_them(
    connection: sqlite3.Connection, name: str
) -> None:
    steps = plan(connection, name)
    used = {
        match[1]
        for step in steps
        if (match := re.search(r"USING (?:COVERING )?INDEX (\w*backburner_jobs\w+(?: \(.*\))?)", step))
    }
    assert used == (HOT | SORTS)[name], steps
    assert not [step for step in steps if re.match(r"SCAN (backburner_jobs|job|other)$", step)], steps
    assert (name in SORTS) == any("TEMP B-TREE" in step for step in steps), steps


@pytest.mark.parametrize("name", sorted(DIRECT))
def test_a_settlement_finds_its_jobs_by_their_rows(connection: sqlite3.Connection, name: str) -> None:
    steps = [step for step in plan(connection, name) if "backburner_jobs" in step]
    assert steps == ["SEARCH backburner_jobs USING INTEGER PRIMARY KEY (rowid=?)"]


@pytest.mark.parametrize("name", sorted(ELSEWHERE))
def test_the_other_statements_leave_the_jobs_alone(connection: sqlite3.Connection, name: str) -> None:
    assert not [step for step in plan(connection, name) if "backburner_jobs" in step]
