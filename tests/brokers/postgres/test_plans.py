"""Every statement of the hot path goes by an index, and every call is one statement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from backburner import lifecycle
from backburner.brokers.base import Beat, Claim, Operation
from backburner.brokers.postgres.broker import PostgresBroker
from backburner.brokers.postgres.session import Session
from backburner.job import JobRecord
from backburner.lifecycle import ErrorInfo
from tests.brokers.postgres.conftest import add, new_job, take

BATCH = 500


@pytest.fixture
def plans(broker: PostgresBroker) -> list[str]:
    """The plans of all statements within the functions, as they are executed; the tables begin empty."""
    found: list[str] = []
    broker.run(broker.get([]))
    [session] = broker._database._idle
    session.execute("LOAD 'auto_explain'")
    for setting in ("log_min_duration = 0", "log_nested_statements = on"):
        session.execute(f"SET auto_explain.{setting}".encode())
    session.execute("SET client_min_messages = log")
    session.add_notice_handler(lambda notice: found.append(notice.message_primary or ""))
    return found


def succeeded(jobs: list[JobRecord], now: float) -> list[lifecycle.Settlement]:
    return [lifecycle.succeeded(job, b"1", now, keep=86400) for job in jobs]


def test_the_hot_path_reads_no_table_from_end_to_end(broker: PostgresBroker, plans: list[str]) -> None:
    broker.run(broker.enqueue([new_job() for _ in range(2 * BATCH)], {}))
    broker.run(broker.enqueue([new_job(key="k"), new_job(delay=0.001)], {}))
    broker.run(broker.enqueue([new_job(), new_job(delay=0.001)], {}))
    broker.run(broker.stage(10))
    jobs = take(broker, BATCH)
    claim = Claim(worker="w1", queues=("default",), limit=BATCH, exclude=("slow",))
    jobs = broker.run(broker.exchange(succeeded(jobs, broker.now()), claim)).jobs
    boom = ErrorInfo("E", "boom")
    broker.run(broker.exchange([lifecycle.retrying(job, boom, 1, broker.now()) for job in jobs], None))
    broker.run(broker.cancel([add(broker).id], "enough", 60))
    broker.run(broker.note(jobs[0], b"1", None))
    assert len(plans) > 50
    for plan in plans:
        for table in ("jobs", "finished", "keys", "workers"):
            assert f"Seq Scan on {table}" not in plan, plan
        assert "JIT" not in plan, plan
        filters = [line for line in plan.splitlines() if line.strip().startswith("Filter:")]
        assert not any("clock" in line for line in filters), f"the clock is read for every row: {plan}"
        assert "Index Scan using jobs_running" not in plan, plan


def test_a_duplicate_in_a_large_batch_does_not_have_each_job_compared_with_all(
    broker: PostgresBroker, plans: list[str]
) -> None:
    """Each comparison read the whole batch: 1,000 jobs of 60 kB took 15 s, and an answer may take 20."""
    held = add(broker, key="once")
    plans.clear()
    jobs = [new_job(key="once"), *(new_job() for _ in range(BATCH))]
    stored = broker.run(broker.enqueue(jobs, {}))
    assert [job.id for job in stored] == [held.id, *(job.id for job in jobs[1:])]
    [answer] = [plan for plan in plans if "ORDER BY held.seq" in plan]
    assert answer.count("Function Scan") == 1, answer


def test_who_holds_a_key_is_looked_up_by_id(broker: PostgresBroker, plans: list[str]) -> None:
    """Not by reading all that is stored, oldest first, until it comes."""
    held = add(broker, key="once")
    plans.clear()
    assert add(broker, key="once").id == held.id
    assert not [plan for plan in plans if "using jobs_seq_key" in plan or "_seq_idx" in plan]


CALLS: dict[str, Callable[[PostgresBroker, list[JobRecord]], Operation[Any]]] = {
    "enqueue of 1": lambda broker, _: broker.enqueue([new_job()], {}),
    "enqueue of 1,000": lambda broker, _: broker.enqueue([new_job() for _ in range(1000)], {}),
    "enqueue of 1 with a key": lambda broker, _: broker.enqueue([new_job(key="k")], {}),
    "exchange of 500 and 500": lambda broker, jobs: broker.exchange(
        succeeded(jobs, broker.now()), Claim(worker="w1", queues=("default", "other"), limit=BATCH)
    ),
    "heartbeat": lambda broker, _: broker.heartbeat(
        [Beat(worker="w1", lease=60), Beat(worker="w2", lease=60)]
    ),
    "stage": lambda broker, _: broker.stage(1000),
    "orphans": lambda broker, _: broker.orphans(1000, None),
    "note": lambda broker, jobs: broker.note(jobs[0], b"1", None),
    "get": lambda broker, jobs: broker.get([job.id for job in jobs]),
    "cancel": lambda broker, jobs: broker.cancel([job.id for job in jobs], "enough", 60),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_is_one_statement(broker: PostgresBroker, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broker.run(broker.enqueue([new_job() for _ in range(2 * BATCH)], {}))
    jobs = take(broker, BATCH)
    asked: list[bytes] = []
    ask = Session.ask

    def counted(self: Session, statement: bytes, *rest: Any) -> list[tuple[Any, ...]]:
        asked.append(statement)
        return ask(self, statement, *rest)

    monkeypatch.setattr(Session, "ask", counted)
    broker.run(CALLS[call](broker, jobs))
    assert len(asked) == 1
