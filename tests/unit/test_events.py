from __future__ import annotations

import logging

import pytest

from backburner import Backburner, events
from backburner.job import JobRecord
from backburner.lifecycle import ErrorInfo

JOB = JobRecord(id="j1", task="shop.mail", attempt=2)
BOOM = ErrorInfo("builtins.OSError", "boom", "Traceback …\nOSError: boom")
DIED = events.Died(job=JOB, error=BOOM, reason="no use")
FAILED = events.Failed(job=JOB, error=BOOM, delay=4.04)


@pytest.fixture
def app() -> Backburner:
    return Backburner("sqlite://")


def test_a_handler_gets_the_events_of_its_kind(app: Backburner) -> None:
    found: list[events.Event] = []
    app.on(events.Died)(found.append)
    for event in (FAILED, DIED, events.BrokerUp()):
        app.events.emit(event)
    assert found == [DIED]


def test_a_handler_of_a_base_class_gets_all_of_them(app: Backburner) -> None:
    every: list[events.Event] = []
    of_jobs: list[events.Event] = []
    app.on(events.Event)(every.append)
    app.on(events.JobEvent)(of_jobs.append)
    for event in (FAILED, DIED, events.BrokerUp()):
        app.events.emit(event)
    assert every == [FAILED, DIED, events.BrokerUp()]
    assert of_jobs == [FAILED, DIED]


def test_handlers_are_called_in_their_order(app: Backburner) -> None:
    found: list[str] = []
    app.on(events.Died)(lambda event: found.append("first"))
    app.on(events.JobEvent)(lambda event: found.append("second"))
    app.events.emit(DIED)
    assert found == ["first", "second"]


def test_a_handler_may_ask_for_one_task(app: Backburner) -> None:
    task = app.task(name="shop.mail")(lambda: None)
    other = app.task(name="other")(lambda: None)
    found: list[str] = []
    app.on(events.Died, task=task)(lambda event: found.append("mail"))
    app.on(events.Died, task=other)(lambda event: found.append("other"))
    app.events.emit(DIED)
    assert found == ["mail"]


def test_a_decorated_handler_is_still_a_function(app: Backburner) -> None:
    @app.on(events.Died)
    def handler(event: events.Died) -> str:
        return event.reason

    assert handler(DIED) == "no use"


def test_a_handler_that_fails_is_logged_and_stops_nothing(
    app: Backburner, caplog: pytest.LogCaptureFixture
) -> None:
    found: list[events.Event] = []
    app.on(events.Died)(lambda event: 1 / 0)
    app.on(events.Died)(found.append)
    app.events.emit(DIED)
    assert found == [DIED]
    assert "a handler of Died failed" in caplog.text
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("event", "level", "text"),
    [
        (DIED, logging.ERROR, "died shop.mail j1 attempt 2: no use\nTraceback …\nOSError: boom"),
        (
            FAILED,
            logging.WARNING,
            "failed shop.mail j1 attempt 2: builtins.OSError: boom; next attempt in 4.0 s",
        ),
        (
            events.LargePayload(job=JOB, size=9000),
            logging.WARNING,
            "shop.mail was enqueued with 9,000 bytes of arguments; pass an id instead",
        ),
        (
            events.StuckThread(job=JOB, stack="File …"),
            logging.ERROR,
            "stuckthread shop.mail j1 attempt 2: told to stop, still running:\nFile …",
        ),
        (
            events.LeftOpen(job=JOB),
            logging.WARNING,
            (
                "leftopen shop.mail j1 attempt 2: its end cannot be recorded while a transaction has the job "
                "locked: let the task commit, roll back, or close the connection that it gives to complete_in"
            ),
        ),
        (
            events.QueueFilled(queue="q", depth=5, max_length=5),
            logging.WARNING,
            "queuefilled queue=q depth=5 max_length=5",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_happens_is_logged(
    app: Backburner, caplog: pytest.LogCaptureFixture, event: events.Event, level: int, text: str
) -> None:
    caplog.set_level(logging.DEBUG, "backburner")
    app.events.emit(event)
    assert caplog.record_tuples == [("backburner", level, text)]


def test_what_nobody_wants_need_not_be_made(app: Backburner, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "backburner")
    assert not app.events.wanted(events.Started)
    assert app.events.wanted(events.Died)
    app.on(events.JobEvent)(lambda event: None)
    assert app.events.wanted(events.Started)
    caplog.set_level(logging.DEBUG, "backburner")
    assert Backburner("sqlite://").events.wanted(events.Started)


def test_events_cannot_be_changed_by_a_handler() -> None:
    with pytest.raises(AttributeError):
        DIED.reason = "other"  # type: ignore[misc]
