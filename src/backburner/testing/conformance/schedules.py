"""Periodic tasks: stored once, and each fire enqueued exactly once however many workers tick."""

from __future__ import annotations

from typing import Any

from backburner.brokers.base import Capability, StoredSchedule
from backburner.lifecycle import State
from backburner.periodic import stored, tick
from backburner.schedule import Schedule
from backburner.testing.conformance.kit import Store, ids, needs, new_job

START = 1_800_000_000.0  # a multiple of 60


def save(store: Store, declared: bool = True, **fields: Any) -> StoredSchedule:
    schedule = Schedule(**{"name": "minutely", "task": "conformance.task", "every": 60.0, **fields})
    new = stored(schedule, store.clock(), declared=declared)
    store.do(store.broker.save_schedule(new))
    return new


def ticked(store: Store) -> list[str]:
    return ids(store.do(tick(store.broker)).jobs)


def schedules(store: Store) -> list[StoredSchedule]:
    return store.do(store.broker.schedules())


def test_a_stored_schedule_can_be_read_by_all(store: Store, other: Store) -> None:
    new = save(
        store, payload=b"[1]", queue="night", priority=3, tz="Europe/Berlin", cron="0 3 * * *", every=None
    )
    assert schedules(other) == [new]


def test_a_fire_enqueues_its_job_once_however_many_tick(store: Store, other: Store) -> None:
    save(store, payload=b"[7]", queue="night", priority=5)
    assert ticked(store) == []
    store.clock.advance(60)
    jobs = ticked(store) + ticked(other) + ticked(store)
    assert len(jobs) == 1
    found = store.claim(10, queues=("night",))
    assert [(job.id, job.payload, job.priority) for job in found] == [(jobs[0], b"[7]", 5)]


@needs(Capability.SCHEDULES)
def test_fire_after_fire_each_runs_once(store: Store, other: Store) -> None:
    save(store)
    jobs: list[str] = []
    for _ in range(10):
        store.clock.advance(30)
        jobs += ticked(store) + ticked(other)
    assert len(jobs) == len(set(jobs)) == 5
    assert len(store.claim(100)) == 5


def test_a_tick_says_when_the_next_one_is_due(store: Store) -> None:
    assert store.do(tick(store.broker)).next_at is None
    save(store)
    save(store, name="hourly", every=3600.0)
    assert store.do(tick(store.broker)).next_at == START + 60
    store.clock.advance(60)
    assert store.do(tick(store.broker)).next_at == START + 120


def test_a_fire_that_was_missed_runs_once_by_default(store: Store) -> None:
    save(store)
    store.clock.advance(3600)
    assert len(ticked(store)) == 1
    assert ticked(store) == []


def test_every_missed_fire_runs_if_asked_for(store: Store) -> None:
    save(store, missed="all")
    store.clock.advance(600)
    assert len(ticked(store)) == 10


def test_a_schedule_without_overlap_waits_for_its_job(store: Store) -> None:
    save(store, overlap="skip")
    store.clock.advance(60)
    assert len(ticked(store)) == 1
    store.clock.advance(60)
    assert ticked(store) == []
    store.end(store.take(), "succeed")
    store.clock.advance(60)
    assert len(ticked(store)) == 1


def test_a_schedule_may_spread_its_jobs(store: Store) -> None:
    save(store, jitter=30.0)
    store.clock.advance(60)
    [job_id] = ticked(store)
    job = store.read(job_id)
    assert job.state is State.SCHEDULED
    assert START + 60 < job.run_at < START + 90


def test_a_declaration_that_is_repeated_keeps_its_place(store: Store, other: Store) -> None:
    save(store)
    store.clock.advance(61)
    save(other)
    assert [each.next_at for each in schedules(store)] == [START + 60]
    assert len(ticked(store)) == 1


def test_a_changed_declaration_begins_anew(store: Store) -> None:
    save(store)
    store.clock.advance(59)
    save(store, every=3600.0)
    [found] = schedules(store)
    assert (found.schedule.every, found.next_at) == (3600.0, START + 3600)


def test_a_paused_schedule_does_not_fire_also_when_it_is_declared_again(store: Store) -> None:
    save(store)
    assert store.do(store.broker.pause_schedule("minutely", True))
    save(store)
    store.clock.advance(60)
    assert ticked(store) == []
    assert store.do(store.broker.pause_schedule("minutely", False))
    assert len(ticked(store)) == 1


def test_a_deleted_schedule_does_not_fire(store: Store) -> None:
    save(store)
    assert store.do(store.broker.delete_schedule("minutely"))
    store.clock.advance(60)
    assert ticked(store) == []
    assert schedules(store) == []


def test_what_is_not_there_can_be_neither_paused_nor_deleted(store: Store) -> None:
    assert not store.do(store.broker.pause_schedule("nothing", True))
    assert not store.do(store.broker.delete_schedule("nothing"))
    job = new_job()
    assert not store.do(store.broker.advance_schedule("nothing", 1.0, 2.0, [job]))
    assert not store.exists(job)


@needs(Capability.SCHEDULES)
def test_only_one_of_two_advances_a_schedule(store: Store, other: Store) -> None:
    save(store)
    jobs = [new_job(), new_job()]
    advance = [
        each.broker.advance_schedule("minutely", START + 60, START + 120, [job])
        for each, job in zip((store, other), jobs, strict=True)
    ]
    assert [store.do(advance[0]), other.do(advance[1])] == [True, False]
    [found] = schedules(store)
    assert (found.next_at, found.last_job) == (START + 120, jobs[0].id)
    assert [store.exists(job) for job in jobs] == [True, False]


@needs(Capability.SCHEDULES)
def test_a_schedule_that_fires_nothing_keeps_its_last_job(store: Store) -> None:
    save(store)
    job = new_job()
    assert store.do(store.broker.advance_schedule("minutely", START + 60, START + 120, [job]))
    assert store.do(store.broker.advance_schedule("minutely", START + 120, START + 180, []))
    [found] = schedules(store)
    assert (found.next_at, found.last_job) == (START + 180, job.id)


def test_a_schedule_made_at_run_time_is_told_apart(store: Store) -> None:
    save(store, name="code")
    save(store, name="made", declared=False)
    assert {each.schedule.name: each.declared for each in schedules(store)} == {"code": True, "made": False}
