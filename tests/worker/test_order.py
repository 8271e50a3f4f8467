"""In which order a worker takes its jobs."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable

import pytest

from backburner import Backburner, Task, current_job
from backburner.testing import adrain
from backburner.worker import appetite
from backburner.worker.queues import ordered

Noting = tuple[Task[[int], None], list[tuple[str, int]]]


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims as with long jobs: one for each free slot, nothing ahead."""
    monkeypatch.setattr(appetite, "MOST_AHEAD", 0)


@pytest.fixture
def noting(app: Backburner) -> Noting:
    ran: list[tuple[str, int]] = []

    @app.task
    async def note(number: int) -> None:
        ran.append((current_job().queue, number))

    return note, ran


async def drain(app: Backburner, queues: str) -> None:
    async with app.worker(queues=queues, concurrency=1) as embedded:
        await embedded.drained()


async def test_a_higher_priority_goes_first_and_one_priority_in_order_of_arrival(noting: Noting) -> None:
    note, ran = noting
    arrived = [(0, 1), (5, 2), (-100, 3), (0, 4), (100, 5), (5, 6), (0, 7)]
    for priority, number in arrived:
        note.using(priority=priority).enqueue(number)
    await drain(note.app, "default")
    assert [number for _, number in ran] == [5, 2, 6, 1, 4, 7, 3]


async def test_a_later_job_of_higher_priority_overtakes_what_waits(
    noting: Noting, make_app: Callable[..., Backburner], one_by_one: None
) -> None:
    note, ran = noting

    @note.app.task(priority=-1)
    async def first() -> None:
        await note.using(priority=1).aenqueue(3)

    for number in (1, 2):
        note.enqueue(number)
    first.using(priority=2).enqueue()
    await drain(note.app, "default")
    assert [number for _, number in ran] == [3, 1, 2]


async def test_a_released_job_keeps_its_place_in_line(noting: Noting, pipe: object) -> None:
    note, ran = noting
    stopped: list[int] = []

    @note.app.task(name="hold")
    async def hold() -> None:
        stopped.append(current_job().token)
        if current_job().token == 1:
            leave.set_result(None)
            await asyncio.Event().wait()
        ran.append(("default", 0))

    leave = asyncio.get_running_loop().create_future()
    hold.enqueue()
    for number in (1, 2):
        note.enqueue(number)
    async with note.app.worker(concurrency=1, grace=0.0):
        await leave
    await drain(note.app, "default")
    assert (stopped, [number for _, number in ran]) == ([1, 2], [0, 1, 2])


async def test_queues_in_strict_order(noting: Noting, one_by_one: None) -> None:
    note, ran = noting
    for number in range(3):
        for queue in ("low", "high", "middle"):
            note.using(queue=queue).enqueue(number)
    await drain(note.app, "high,middle,low")
    assert ran == [(queue, number) for queue in ("high", "middle", "low") for number in range(3)]


async def test_a_worker_touches_no_queue_but_its_own(noting: Noting) -> None:
    note, ran = noting
    for queue in ("mine", "other", "default"):
        note.using(queue=queue).enqueue(1)
    await drain(note.app, "mine")
    assert ran == [("mine", 1)]
    assert note.app.inspector.counts() == {"succeeded": 1, "queued": 2}


async def test_without_a_choice_a_worker_serves_every_queue_that_its_tasks_name(app: Backburner) -> None:
    ran: list[str] = []

    @app.task(queue="mail")
    async def send() -> None:
        ran.append(current_job().queue)

    app.queue("bounded", max_length=10)
    send.enqueue()
    send.using(queue="default").enqueue()
    send.using(queue="bounded").enqueue()
    send.using(queue="unheard of").enqueue()
    await adrain(app)
    assert sorted(ran) == ["bounded", "default", "mail"]


def test_weights_give_each_queue_its_share_of_the_first_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backburner.worker.queues.random", random.Random(7))
    draws = [ordered({"a": 6, "b": 3, "c": 1}) for _ in range(10_000)]
    share = Counter(draw[0] for draw in draws)
    assert [round(share[queue] / 10_000, 1) for queue in "abc"] == [0.6, 0.3, 0.1]
    assert all(sorted(draw) == ["a", "b", "c"] for draw in draws), "behind the first, the others get a chance"


async def test_weighted_queues_share_a_worker_so_that_none_starves(
    noting: Noting, monkeypatch: pytest.MonkeyPatch, one_by_one: None
) -> None:
    note, ran = noting
    monkeypatch.setattr("backburner.worker.queues.random", random.Random(7))
    note.using(queue="a").enqueue_many([(number,) for number in range(150)])
    note.using(queue="b").enqueue_many([(number,) for number in range(150)])
    await drain(note.app, "a=3,b=1")
    share = Counter(queue for queue, _ in ran[:100])["a"]
    assert 60 <= share <= 90, "three quarters, give or take"
    assert len(ran) == 300
