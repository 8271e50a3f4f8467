"""One acknowledgement speaks for as many deliveries as it can, and never for one that is still in hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backburner.brokers.rabbitmq.acks import Acks


def test_all_up_to_the_first_in_hand_go_with_one_frame() -> None:
    assert Acks().settle([1, 2, 3]) == [(3, True)]


def test_what_lies_beyond_one_in_hand_goes_one_by_one() -> None:
    assert Acks().settle([1, 3, 4]) == [(1, True), (3, False), (4, False)]


def test_a_gap_that_closes_names_a_tag_that_the_server_still_waits_for() -> None:
    acks = Acks()
    acks.settle([2, 3])
    assert acks.settle([1]) == [(1, True)]
    assert acks.settle([4, 5]) == [(5, True)]


def test_nothing_settled_sends_nothing() -> None:
    assert Acks().settle([]) == []


@given(st.permutations(range(1, 30)), st.lists(st.integers(1, 5), min_size=30))
def test_the_server_never_meets_an_unknown_tag_and_acknowledges_exactly_what_was_settled(
    order: list[int], sizes: list[int]
) -> None:
    acks, waiting, settled = Acks(), set(range(1, 30)), set[int]()
    while order:
        size = sizes.pop()
        batch, order = order[:size], order[size:]
        settled |= {*batch}
        for tag, multiple in acks.settle(batch):
            assert tag in waiting, "the server closes the channel on a tag that it does not wait for"
            waiting -= {each for each in waiting if each <= tag} if multiple else {tag}
        assert waiting == set(range(1, 30)) - settled


def test_a_delivery_in_hand_for_long_costs_no_memory() -> None:
    acks = Acks()
    acks.settle(range(2, 1002))
    before = sizeof(acks)
    for tag in range(1002, 50_002, 7):
        acks.settle(range(tag, tag + 7))
    assert sizeof(acks) == before


def sizeof(acks: Acks) -> int:
    return sum(len(each) for each in vars(acks).values() if isinstance(each, dict))
