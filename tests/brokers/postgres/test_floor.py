"""The floor of a lane spares a claim what was claimed before, and never skips a job."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg

from backburner import lifecycle
from backburner.brokers.base import Beat, Claim
from backburner.brokers.postgres.broker import PostgresBroker
from backburner.job import JobRecord
from backburner.lifecycle import ErrorInfo, Settlement, State
from tests.brokers.postgres.conftest import add, new_job, schema_of, sql, take

BATCH = 500
JOBS = 2000


def succeeded(jobs: list[JobRecord], now: float) -> list[Settlement]:
    return [lifecycle.succeeded(job, b"1", now, keep=86400) for job in jobs]


def test_what_was_claimed_long_ago_is_not_waded_through_while_an_old_snapshot_is_open(
    broker: PostgresBroker, url: str
) -> None:
    """Counted in pages that the next claim reads; without the floor they grow with every job claimed."""
    broker.run(broker.heartbeat([Beat(worker="w1", lease=3600, new=True)]))
    claim = Claim(worker="w1", queues=("default",), limit=BATCH)
    with psycopg.connect(url.partition("?")[0]) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute(f"SELECT count(*) FROM {schema_of(url)}.jobs".encode())
        jobs: list[JobRecord] = []
        read = []
        for _ in range(20):
            broker.run(broker.enqueue([new_job() for _ in range(BATCH)], {}))
            jobs = broker.run(broker.exchange(succeeded(jobs, broker.now()), claim)).jobs
            sql(url, f"UPDATE {schema_of(url)}.lanes SET looked_at = 0")
            [(plan,)] = sql(
                url,
                f"""EXPLAIN (ANALYZE, BUFFERS, FORMAT json) SELECT FROM {schema_of(url)}.jobs
                WHERE state = 'queued' AND queue = 'default' AND priority = 0
                  AND run_at >= (SELECT min(floor) FROM {schema_of(url)}.lanes) ORDER BY run_at LIMIT 500""",
            )
            read.append(plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"])
    assert max(read[10:]) < 2 * max(read[4:10]) + 50, read


def test_a_job_below_the_floor_is_found(broker: PostgresBroker, url: str) -> None:
    """However it came there: the sweep is the backstop."""
    job = add(broker)
    sql(url, f"UPDATE {schema_of(url)}.lanes SET floor = floor + 100, swept_at = 0")
    assert take(broker) == []
    broker.run(broker.prune(10, 10))
    assert [each.id for each in take(broker)] == [job.id]


def test_a_job_that_is_committed_late_is_not_skipped(broker: PostgresBroker, url: str) -> None:
    """Its transaction began before others enqueued, and ended after their jobs were claimed."""
    add(broker)
    with psycopg.connect(url.partition("?")[0]) as own:
        [late] = broker.run_on(own, broker.enqueue([new_job()], {}))
        for _ in range(10):
            add(broker)
            assert len(take(broker, 10)) >= 1
            sql(url, f"UPDATE {schema_of(url)}.lanes SET looked_at = 0")
        own.commit()
    assert [job.id for job in take(broker, 10)] == [late.id]


def test_a_job_that_is_due_later_by_another_clock_lifts_no_floor_over_others(
    broker: PostgresBroker, url: str
) -> None:
    """It was adopted from where the clock is ahead; an enqueue begins while a claim notes the next floor."""
    add(broker)
    take(broker)
    ahead = [new_job(run_at=broker.now() + 60, created_at=1.0) for _ in range(9)]
    broker.run(broker.adopt(ahead, {}))
    plain = url.partition("?")[0]
    claim = Claim(worker="w1", queues=("default",), limit=1)
    take(broker)
    sql(url, f"UPDATE {schema_of(url)}.lanes SET looked_at = 0, floor = 0, next = 0, horizon = NULL")
    with psycopg.connect(plain) as claiming, psycopg.connect(plain) as own:
        broker.run_on(claiming, broker.exchange([], claim))
        [late] = broker.run_on(own, broker.enqueue([new_job()], {}))
        claiming.commit()
        sql(url, f"UPDATE {schema_of(url)}.lanes SET looked_at = 0")
        take(broker)
        own.commit()
    assert late.id in {job.id for job in take(broker, 9)}


def produce(broker: PostgresBroker, committed: set[str]) -> None:
    """Enqueue in transactions of our own, which stay open for others' jobs to pass, or roll back."""
    with psycopg.connect(broker.url.partition("?")[0]) as own:
        while len(committed) < JOBS:
            jobs = [new_job(priority=random.choice([0, 5])) for _ in range(random.choice([1, 5, 20]))]
            broker.run_on(own, broker.enqueue(jobs, {}))
            if random.random() < 0.2:
                own.rollback()
                continue
            jobs.append(add(broker, delay=random.choice([None, 0.05])))
            own.commit()
            committed.update(job.id for job in jobs)


def consume(broker: PostgresBroker, worker: str, done: threading.Event) -> None:
    settlements: list[Settlement] = []
    while not done.is_set():
        claim = Claim(worker=worker, queues=("default",), limit=random.choice([1, 10, 100]))
        answer = broker.run(broker.exchange(settlements, claim))
        # Another claim that looks for jobs just now may have locked one.
        locked = [each for each in settlements if each.job.id in answer.locked]
        settlements = [*locked, *(random.choice(ENDS)(job, broker.now()) for job in answer.jobs)]
    broker.run(broker.exchange(settlements, None))


ENDS: list[Callable[[JobRecord, float], Settlement]] = [
    *[lambda job, now: lifecycle.succeeded(job, None, now, keep=86400)] * 8,
    lifecycle.released,
    lambda job, now: lifecycle.retrying(job, ErrorInfo("E", "boom"), random.random() / 10, now),
]


def test_no_job_is_skipped_whatever_comes_back_and_whoever_commits_late(
    broker: PostgresBroker, url: str
) -> None:
    committed: set[str] = set()
    done = threading.Event()
    broker.run(broker.heartbeat([Beat(worker=worker, lease=3600, new=True) for worker in "ab"]))
    with ThreadPoolExecutor(4) as threads:
        producing = [threads.submit(produce, broker, committed) for _ in range(2)]
        consuming = [threads.submit(consume, broker, worker, done) for worker in "ab"]
        try:
            for each in producing:
                each.result()
            while states(broker) != {State.SUCCEEDED}:  # without a sweep, which would hide a mistake
                broker.run(broker.stage(1000))
        finally:
            done.set()
        for worker in consuming:
            worker.result()
    assert {row[0] for row in sql(url, f"SELECT id FROM {schema_of(url)}.finished")} == committed


def states(broker: PostgresBroker) -> set[str]:
    return {state for info in broker.run(broker.queues()) for state in info.counts}
