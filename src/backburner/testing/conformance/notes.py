"""What a running job stores about itself: progress and a checkpoint."""

from __future__ import annotations

from backburner.testing.conformance.kit import Store


def test_progress_can_be_read_while_the_job_runs(store: Store, other: Store) -> None:
    store.add()
    claimed = store.take()
    assert store.do(store.broker.note(claimed, b"0.5", None))
    assert other.read(claimed).progress == b"0.5"
    assert store.do(store.broker.note(claimed, b"0.7", None))
    assert other.read(claimed).progress == b"0.7"


def test_progress_and_checkpoint_do_not_touch_each_other(store: Store) -> None:
    store.add()
    claimed = store.take()
    store.do(store.broker.note(claimed, b"1", b"[2]"))
    store.do(store.broker.note(claimed, None, b"[3]"))
    store.do(store.broker.note(claimed, b"4", None))
    found = store.read(claimed)
    assert (found.progress, found.checkpoint) == (b"4", b"[3]")


def test_a_checkpoint_is_there_for_the_next_attempt_and_progress_starts_anew(store: Store) -> None:
    store.add()
    claimed = store.take()
    store.do(store.broker.note(claimed, b"0.9", b'{"row":70}'))
    store.end(claimed, "crash")
    again = store.take()
    assert (again.progress, again.checkpoint) == (None, b'{"row":70}')


def test_a_checkpoint_of_null_is_a_value_like_others(store: Store) -> None:
    """It says that the one before does not count any more; nothing at all leaves that."""
    store.add()
    claimed = store.take()
    store.do(store.broker.note(claimed, b"0.9", b"[1]"))
    store.do(store.broker.note(claimed, b"null", b"null"))
    found = store.read(claimed)
    assert (found.progress, found.checkpoint) == (b"null", b"null")
    store.end(claimed, "crash")
    assert store.take().checkpoint == b"null"


def test_a_job_that_lost_its_lease_can_store_nothing(store: Store, other: Store) -> None:
    store.add()
    stale = store.take("w1")
    store.end(stale, "release")
    assert not store.do(store.broker.note(stale, b"1", b"1"))
    current = other.take("w2")
    assert not store.do(store.broker.note(stale, b"1", b"1"))
    assert other.read(current) == current


def test_a_finished_job_can_store_nothing(store: Store) -> None:
    store.add()
    claimed = store.take()
    store.end(claimed, "succeed")
    assert not store.do(store.broker.note(claimed, b"1", b"1"))
    assert store.read(claimed).progress is None
