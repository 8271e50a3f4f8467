"""The inspector over a real store, in memory and with a clock that the test moves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from backburner import JobNotFound, State
from backburner.brokers.base import Beat, Filter, StoredSchedule
from backburner.brokers.sqlite.broker import SqliteBroker
from backburner.doctor import Level
from backburner.errors import ConfigError
from backburner.inspector import BATCH, Inspector
from backburner.periodic import stored, tick
from backburner.schedule import Schedule
from backburner.settings import Settings
from backburner.testing import Clock
from backburner.testing.conformance.kit import Store, ids, new_job


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Iterator[Store]:
    """Brings jobs into their states."""
    broker = SqliteBroker("sqlite://", clock)
    yield Store(broker, clock, None)
    broker.close()


@pytest.fixture
def inspector(store: Store) -> Inspector:
    return Inspector(store.broker, Settings(url="sqlite://"))


def beat(store: Store, **fields: Any) -> None:
    store.do(store.broker.heartbeat([Beat(**{"worker": "w1", "lease": 30, "new": True, **fields})]))


# Jobs ---------------------------------------------------------------------------------------------


def test_a_job_by_its_id(store: Store, inspector: Inspector) -> None:
    job = store.add()
    assert inspector.job(job.id) == store.read(job)
    with pytest.raises(
        JobNotFound, match="no job 0194: the id is wrong, it belongs to another broker"
    ) as told:
        inspector.job("0194")
    assert told.value.job_id == "0194"


def test_pages_follow_each_other_even_when_jobs_are_added(store: Store, inspector: Inspector) -> None:
    jobs = [store.add() for _ in range(5)]
    newest = ids(jobs)[::-1]
    first = inspector.jobs(Filter(limit=2))
    store.add()
    second = inspector.jobs(Filter(limit=2, before=first[-1].id))
    third = inspector.jobs(Filter(limit=2, before=second[-1].id))
    assert ids([*first, *second, *third]) == newest
    assert inspector.jobs(Filter(before=newest[-1])) == []
    with pytest.raises(JobNotFound):
        inspector.jobs(Filter(before="0194"))


def test_all_ids_that_match_are_found_beyond_a_page(store: Store, inspector: Inspector) -> None:
    jobs = [new_job() for _ in range(2 * BATCH + 1)]
    store.enqueue(*jobs[:1000])
    store.enqueue(*jobs[1000:])
    other = store.add(queue="other")
    assert inspector.ids(Filter(queue="default", limit=3)) == ids(jobs)[::-1]
    assert inspector.ids(Filter())[0] == other.id
    assert inspector.ids(Filter(queue="nobody")) == []


def test_the_last_error_of_each_job(store: Store, inspector: Inspector) -> None:
    fine, dead = store.in_state(State.SUCCEEDED), store.in_state(State.DEAD)
    found = inspector.errors([fine.id, dead.id, "0194"])
    assert list(found) == [dead.id]
    assert (found[dead.id].error, found[dead.id].message) == ("builtins.OSError", "the storage is away")
    assert inspector.history(dead.id) == [found[dead.id]]
    assert inspector.history(fine.id) == []


def test_cancelled_jobs_are_kept_as_the_settings_say(
    store: Store, inspector: Inspector, clock: Clock
) -> None:
    waiting = store.add()
    running, final = store.in_state(State.RUNNING, queue="r"), store.in_state(State.DEAD, queue="d")
    done = inspector.cancel([waiting.id, running.id, final.id, "0194"], "wrong day")
    assert set(done) == {waiting.id, running.id}
    assert store.read(waiting).reason == "wrong day"
    clock.advance(inspector.settings.keep_finished - 1)
    assert store.do(store.broker.prune(100, 100)).deleted == 0
    clock.advance(2)
    assert store.do(store.broker.prune(100, 100)).deleted == 1


# Dead letters -------------------------------------------------------------------------------------


def test_dead_letters_are_retried_one_some_or_all(store: Store, inspector: Inspector) -> None:
    dead = [store.in_state(State.DEAD, queue=queue) for queue in ("a", "a", "b", "b")]
    assert inspector.retry([dead[0].id]) == [dead[0].id]
    assert set(inspector.retry(inspector.ids(Filter(states=(State.DEAD,), queue="b")))) == set(ids(dead[2:]))
    assert [store.state(job) for job in dead] == [State.QUEUED, State.DEAD, State.QUEUED, State.QUEUED]
    assert inspector.retry(inspector.ids(Filter(states=(State.DEAD,)))) == [dead[1].id]
    assert inspector.counts() == {"queued": 4}


def test_what_is_not_dead_or_cancelled_is_not_retried(store: Store, inspector: Inspector) -> None:
    cancelled, succeeded = store.in_state(State.CANCELLED), store.in_state(State.SUCCEEDED)
    waiting = store.add()
    assert inspector.retry([cancelled.id, succeeded.id, waiting.id, "0194"]) == [cancelled.id]


def test_only_final_jobs_are_deleted(store: Store, inspector: Inspector) -> None:
    """The broker would delete whatever does not run: an accepted job is not to be lost by a slip."""
    states: list[State] = [state for state in State if state is not State.BLOCKED]
    jobs = {state: store.in_state(state, queue=state) for state in states}
    found = inspector.delete([*ids([*jobs.values()]), "0194"])
    gone = {State.SUCCEEDED, State.DEAD, State.CANCELLED}
    assert set(found) == {jobs[state].id for state in gone}
    assert {state for state in states if store.exists(jobs[state])} == set(states) - gone


def test_many_are_handled_in_batches_that_tell_how_far_they_are(store: Store, inspector: Inspector) -> None:
    jobs = [new_job() for _ in range(2 * BATCH + 1)]
    store.enqueue(*jobs[:1000])
    store.enqueue(*jobs[1000:])
    told = list[tuple[int, int]]()
    inspector.cancel(ids(jobs))
    assert set(inspector.retry(ids(jobs), lambda done, of: told.append((done, of)))) == set(ids(jobs))
    assert told == [(500, 1001), (1000, 1001), (1001, 1001)]
    inspector.cancel(ids(jobs))
    assert len(inspector.delete(ids(jobs), lambda done, of: told.append((done, of)))) == 1001
    assert told[3:] == told[:3]
    assert inspector.counts() == {}


def test_an_export_has_each_job_with_its_history(store: Store, inspector: Inspector) -> None:
    dead = [store.in_state(State.DEAD, payload=b'{"*":[1],"size":64}', result=None) for _ in range(3)]
    lines = [*inspector.export([*ids(dead), "0194"])]
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    found = {each["id"]: each for each in map(json.loads, lines)}
    assert set(found) == set(ids(dead))
    one = found[dead[0].id]
    assert (one["args"], one["kwargs"], one["state"]) == ([1], {"size": 64}, "dead")
    assert [each["error"] for each in one["history"]] == ["builtins.OSError"]


# Figures ------------------------------------------------------------------------------------------


def test_the_depth_and_the_latency_of_the_oldest(store: Store, inspector: Inspector, clock: Clock) -> None:
    store.add(queue="mail")
    clock.advance(30)
    store.add(queue="mail")
    store.add(queue="images", delay=100)
    store.in_state(State.RUNNING, queue="busy")
    store.in_state(State.RETRYING, queue="busy")
    store.in_state(State.DEAD, queue="mail2")
    clock.advance(12)
    found = inspector.stats()
    queues = {each.queue: each for each in found.queues}
    assert (queues["mail"].queued, queues["mail"].latency) == (2, 42.0)
    assert (queues["images"].queued, queues["images"].later, queues["images"].latency) == (0, 1, None)
    assert (queues["busy"].running, queues["busy"].later) == (1, 1)
    assert queues["mail2"].dead == 1
    total = found.total
    assert (total.queued, total.latency, total.running, total.later, total.dead) == (2, 42.0, 1, 2, 1)
    assert [each.task for each in found.tasks] == ["conformance.task"]
    assert found.tasks[0].queued == 2
    assert found.at == clock()


def ended(store: Store, clock: Clock, verb: str, seconds: float, **fields: Any) -> None:
    """A job that ran so long, and how it ended."""
    job = store.claim(queues=(store.add(**fields).queue,))[0]
    clock.advance(seconds)
    store.end(job, verb)


def test_throughput_failures_and_the_length_of_attempts(
    store: Store, inspector: Inspector, clock: Clock
) -> None:
    assert clock() % 60 == 0
    for verb in ("succeed", "succeed", "succeed"):
        ended(store, clock, verb, 2, task="fine")
    for verb in ("retry", "die", "crash", "poison"):
        ended(store, clock, verb, 1, task="bad", queue=verb)
    for verb in ("cancel", "snooze", "release"):
        ended(store, clock, verb, 5, task="neither", queue=verb)
    found = inspector.stats(5)
    assert found.window == 5 * 60 + 25, "it begins with a minute"
    tasks = {each.task: each for each in found.tasks}
    fine, bad, neither = tasks["fine"], tasks["bad"], tasks["neither"]
    assert (fine.finished, fine.failed, fine.failure_rate, fine.seconds) == (3, 0, 0.0, 2.0)
    assert fine.throughput == pytest.approx(3 / found.window)
    assert (bad.finished, bad.failed, bad.failure_rate, bad.seconds) == (0, 4, 1.0, 1.0)
    assert (neither.finished, neither.failed, neither.failure_rate, neither.seconds) == (0, 0, None, None)
    assert (found.total.finished, found.total.failed) == (3, 4)
    assert found.total.failure_rate == pytest.approx(4 / 7)
    assert found.total.seconds == pytest.approx(10 / 7)


def test_what_ended_before_the_window_counts_no_more(
    store: Store, inspector: Inspector, clock: Clock
) -> None:
    ended(store, clock, "succeed", 1)
    clock.advance(4 * 60)
    ended(store, clock, "succeed", 1)
    assert inspector.stats(5).total.finished == 2
    clock.advance(3 * 60)
    found = inspector.stats(5)
    assert found.total.finished == 1
    assert 300 <= found.window <= 360
    assert inspector.stats(60).total.finished == 2


def test_a_task_whose_jobs_are_gone_still_has_its_figures(
    store: Store, inspector: Inspector, clock: Clock
) -> None:
    ended(store, clock, "succeed", 1, task="gone")
    inspector.delete(inspector.ids(Filter()))
    [found] = inspector.stats().tasks
    assert (found.task, found.finished, found.queued) == ("gone", 1, 0)


def test_an_empty_store_has_figures_too(inspector: Inspector) -> None:
    found = inspector.stats()
    assert (found.total.queued, found.total.latency, found.total.throughput) == (0, None, 0.0)
    assert (found.total.failure_rate, found.total.seconds) == (None, None)
    assert (found.queues, found.tasks) == ([], [])


def test_only_live_workers_have_slots(store: Store, inspector: Inspector, clock: Clock) -> None:
    beat(store, worker="w1", running=3, concurrency=8)
    beat(store, worker="w2", running=1, concurrency=4, lease=5)
    workers = inspector.stats().workers
    assert (workers.alive, workers.running, workers.slots) == (2, 4, 12)
    clock.advance(10)
    workers = inspector.stats().workers
    assert (workers.alive, workers.running, workers.slots) == (1, 3, 8)
    assert [info.id for info in inspector.workers()] == ["w1", "w2"]


# Queues and schedules -----------------------------------------------------------------------------


def test_a_paused_queue_gives_no_job(store: Store, inspector: Inspector) -> None:
    job = store.add(queue="mail")
    inspector.pause_queue("mail")
    assert [info.paused for info in inspector.queues()] == [True]
    assert inspector.stats().queues[0].paused
    assert store.claim(queues=("mail",)) == []
    inspector.resume_queue("mail")
    assert ids(store.claim(queues=("mail",))) == [job.id]


def test_a_paused_schedule_does_not_fire(store: Store, inspector: Inspector, clock: Clock) -> None:
    schedule = Schedule(name="hourly", task="t", every=3600)
    store.do(store.broker.save_schedule(stored(schedule, clock(), declared=True)))
    [found] = inspector.schedules()
    assert inspector.next_fires(found, 3) == [clock() + 3600, clock() + 7200, clock() + 10800]
    assert inspector.pause_schedule("hourly")
    clock.advance(3600)
    assert store.do(tick(store.broker)).jobs == []
    assert inspector.resume_schedule("hourly")
    assert len(store.do(tick(store.broker)).jobs) == 1
    assert inspector.delete_schedule("hourly")
    assert inspector.schedules() == []
    for act in (inspector.pause_schedule, inspector.resume_schedule, inspector.delete_schedule):
        assert not act("hourly")


def test_a_schedule_that_this_machine_cannot_read(store: Store, inspector: Inspector, clock: Clock) -> None:
    schedule = Schedule(name="moon", task="t", cron="0 3 * * *", tz="Moon/Crater")
    store.do(store.broker.save_schedule(StoredSchedule(schedule=schedule, next_at=clock() + 60)))
    [found] = inspector.schedules()
    with pytest.raises(ConfigError, match="Moon/Crater"):
        inspector.next_fires(found, 3)


# Explanations: that the inspector looks up what the sentences are about ----------------------------


def told(inspector: Inspector, job_id: str) -> list[str]:
    return [reason.text for reason in inspector.explain(job_id).reasons]


def test_a_waiting_job_is_explained_by_what_is_around_it(
    store: Store, inspector: Inspector, clock: Clock
) -> None:
    store.add(queue="mail", task="send")
    job = store.add(queue="mail", task="send")
    assert told(inspector, job.id) == ["no worker is alive", "1 job is ahead of it"]
    beat(store, queues=("images",), concurrency=8)
    assert told(inspector, job.id)[0] == "no live worker serves queue 'mail' (1 worker serves: images)"
    beat(store, queues=("mail",), concurrency=8)
    assert told(inspector, job.id)[0].startswith("no live worker of queue 'mail' has the task send")
    beat(store, queues=("mail",), tasks=("send",), concurrency=8, running=8, full=("send",))
    assert told(inspector, job.id)[0] == "workers are there, but none has a free slot for it"
    beat(store, queues=("mail",), tasks=("send",), concurrency=8)
    assert told(inspector, job.id)[0] == "workers take jobs from this queue; it waits for its turn"
    inspector.pause_queue("mail")
    assert told(inspector, job.id)[0] == "queue 'mail' is paused"
    clock.advance(60)
    assert told(inspector, job.id)[1] == "no worker is alive; the last one, worker w1, was seen 60 s ago"


def test_only_jobs_that_come_first_are_ahead(store: Store, inspector: Inspector, clock: Clock) -> None:
    job = store.add()
    store.add()
    store.add(queue="other")
    assert "ahead" not in " ".join(told(inspector, job.id))
    store.add(priority=1)
    assert told(inspector, job.id)[-1] == "1 job is ahead of it"


def test_other_states_are_explained_by_their_history(store: Store, inspector: Inspector) -> None:
    failure = "attempt 1 failed with builtins.OSError: the storage is away"
    retrying = store.in_state(State.RETRYING)
    assert failure in told(inspector, retrying.id)[0]
    dead = store.in_state(State.DEAD)
    assert told(inspector, dead.id)[1] == f"at last, {failure}"
    running = store.in_state(State.RUNNING, queue="r")
    assert told(inspector, running.id) == ["running on worker w1 since 0 ms, attempt 1"]
    assert inspector.explain(dead.id).job.id == dead.id
    with pytest.raises(JobNotFound):
        inspector.explain("0194")


def test_the_fire_of_a_schedule_is_named(store: Store, inspector: Inspector, clock: Clock) -> None:
    schedule = Schedule(name="hourly", task="t", every=3600)
    store.do(store.broker.save_schedule(stored(schedule, clock(), declared=True)))
    clock.advance(3600)
    [job] = store.do(tick(store.broker)).jobs
    assert told(inspector, job.id)[-1] == "it is the last fire of schedule 'hourly'"


# Check-up -----------------------------------------------------------------------------------------


def test_a_checkup_asks_the_broker_and_judges_what_is_stored(store: Store, inspector: Inspector) -> None:
    store.add(queue="mail")
    beat(store, queues=("images",))
    found = {check.text: check for check in inspector.checkup()}
    assert found["the database is in memory: its jobs end with this process"].level is Level.OK
    assert found["1 worker is alive"].level is Level.OK
    alone = found["queue 'mail' has 1 job waiting and no live worker serves it"]
    assert (alone.level, alone.next_step) == (Level.FAIL, "backburner worker MODULE:APP --queues mail")
