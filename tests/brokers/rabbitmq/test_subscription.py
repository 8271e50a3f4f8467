"""A window is changed where that is felt, and only there: workers wait for it."""

from __future__ import annotations

from backburner.brokers.rabbitmq.message import Received
from backburner.brokers.rabbitmq.schema import BANDS, FRONT, LANES, SUSPECTS
from backburner.brokers.rabbitmq.shelf import Delivery, Shelf
from backburner.brokers.rabbitmq.subscription import Lane, Subscription
from backburner.job import JobRecord


def subscription(window: int, *, held: int = 0, settled: int = 0, shelf: int = 0) -> Subscription:
    made = Subscription()
    made.window, made.held, made.settled = window, held, settled
    for number in range(shelf):
        job = JobRecord(f"job-{number}", "t")
        made.shelf.add(Delivery("default", None, number, Received(job, [], ""), 0.0), "normal")
    return made


def test_whoever_has_none_gets_one() -> None:
    assert not subscription(0).fits(1, 0.0)


def test_a_claim_that_wants_more_changes_nothing_where_the_server_holds_nothing_back() -> None:
    assert subscription(10, held=3, shelf=6).fits(50, 0.0)


def test_a_full_window_grows() -> None:
    full = subscription(10, held=4, shelf=6)
    assert full.fits(10, 0.0)
    assert not full.fits(11, 0.0)
    assert full.fitting(100) == 106


def test_a_window_of_which_a_part_was_just_settled_was_full() -> None:
    assert not subscription(10, held=3, settled=7).fits(11, 0.0)


def test_at_a_high_pace_a_window_is_ahead_of_what_is_felt() -> None:
    quick = subscription(10)
    quick.claimed(1000, 1.0)
    quick.held = 0
    assert not quick.fits(11, 0.0)
    assert quick.fitting(100) == 206


def test_a_large_window_gives_up_after_a_second_what_others_could_run() -> None:
    large = subscription(105, held=2, shelf=9)
    assert large.fits(11, 7.0), "no more is out than is wanted"
    assert large.fits(10, 7.9)
    assert not large.fits(10, 8.0)
    assert subscription(104, held=2, shelf=9).fits(10, 8.0)


def test_a_worker_that_wants_much_for_a_moment_now_and_then_has_one_window() -> None:
    """As one does that is full, and looks past what it has no room for."""
    full = subscription(500, held=10, shelf=290)
    for tenth in range(100):
        assert full.fits(300, tenth / 10)
        assert all(full.fits(30, tenth / 10 + 0.02 * step) for step in range(1, 5))


def test_a_large_window_is_kept_while_nothing_comes_for_a_moment() -> None:
    """A server that has much to write sends nothing, and each change takes it long then."""
    large = subscription(105, held=2, shelf=9)
    assert large.fits(11, 7.0)
    large.held, large.shelf = 0, Shelf()
    assert large.fits(10, 7.9)
    assert not large.fits(10, 8.0)


def test_a_large_window_is_given_up_where_there_was_nothing_to_do_for_long() -> None:
    """Or all of the next jobs would come here first, and lie there until it notices that they are slow."""
    assert not subscription(105).fits(10, 0.0)
    assert subscription(104).fits(10, 0.0)


def lanes(window: int, *used: str) -> Subscription:
    made = subscription(window)
    made.lanes = {band: Lane(f"{band}.1", window) for band in LANES}
    made.used = {*used}
    return made


def test_only_lanes_from_which_something_came_get_a_larger_window() -> None:
    assert lanes(10).unfit(20) == []
    assert lanes(10, "normal", "suspects").unfit(20) == ["normal"]


def test_a_lane_gets_the_window_of_the_others_when_something_came_from_it() -> None:
    grown = lanes(10)
    grown.lanes["normal"] = Lane("normal.2", 20)
    grown.used = {"normal", "high"}
    assert grown.unfit(20) == ["high"]


def test_all_lanes_get_a_smaller_window() -> None:
    """That of the suspects has one delivery anyway."""
    assert lanes(10, "normal").unfit(5) == [FRONT, *BANDS]


def test_a_lane_without_a_consumer_gets_one() -> None:
    ended = lanes(10, "normal")
    del ended.lanes["low"], ended.lanes[SUSPECTS]
    assert ended.unfit(10) == ["low", SUSPECTS]


def test_all_are_replaced_where_one_holds_what_cannot_be_put_elsewhere() -> None:
    full = lanes(10, "normal")
    full.renew()
    assert full.unfit(10) == [FRONT, *BANDS]
