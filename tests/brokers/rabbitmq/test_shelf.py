"""What was delivered is claimed in the order of the bands, and within one in the order in which it came."""

from __future__ import annotations

from backburner.brokers.rabbitmq.message import Received
from backburner.brokers.rabbitmq.schema import FRONT, band_of
from backburner.brokers.rabbitmq.shelf import Delivery, Shelf
from backburner.job import JobRecord


def filled(*jobs: tuple[str, int], band: str = "") -> Shelf:
    shelf = Shelf()
    for tag, (task, priority) in enumerate(jobs, 1):
        received = Received(JobRecord(f"{task}{tag}", task, priority=priority), [], "")
        shelf.add(Delivery("default", None, tag, received, float(tag)), band or band_of(priority))
    return shelf


def ids(shelf: Shelf, limit: int = 100, exclude: tuple[str, ...] = ()) -> list[str]:
    return [each.received.job.id for each in shelf.take(limit, exclude)]


def test_a_higher_band_goes_first() -> None:
    shelf = filled(("a", 0), ("b", -100), ("c", 60), ("d", 7), ("e", -7))
    assert ids(shelf) == ["c3", "d4", "a1", "e5", "b2"]


def test_within_a_band_it_is_first_come_first_served() -> None:
    assert ids(filled(("a", 2), ("b", 9), ("c", 2)), 2) == ["a1", "b2"]


def test_what_came_back_is_first_in_its_own_band_and_no_higher() -> None:
    shelf = filled(("a", 0), ("b", 5))
    back = Received(JobRecord("back", "c"), [], "")
    shelf.add(Delivery("default", None, 3, back, 3.0), FRONT)
    assert ids(shelf) == ["b2", "back", "a1"]


def test_excluded_tasks_stay_in_their_place() -> None:
    shelf = filled(("slow", 0), ("quick", 0), ("slow", 0), ("quick", 0))
    assert ids(shelf, exclude=("slow",)) == ["quick2", "quick4"]
    assert ids(shelf) == ["slow1", "slow3"]


def test_a_limit_that_is_reached_leaves_the_skipped_in_their_place() -> None:
    shelf = filled(("slow", 0), ("quick", 0), ("quick", 0))
    assert ids(shelf, 1, ("slow",)) == ["quick2"]
    assert ids(shelf) == ["slow1", "quick3"]


def test_what_is_old_can_be_taken_away_and_put_back() -> None:
    shelf = filled(("a", 0), ("b", 0), ("c", 9))
    old = [*shelf.older(2.5)]
    assert [each.received.job.id for each in old] == ["a1", "b2"]
    shelf.put_back(old)
    assert ids(shelf) == ["c3", "a1", "b2"]
