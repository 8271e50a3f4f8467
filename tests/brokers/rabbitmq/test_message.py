"""A job as a message: nothing of it gets lost, and what does not fit is said."""

from __future__ import annotations

import msgspec
import pytest

from backburner.brokers.rabbitmq import message
from backburner.brokers.rabbitmq.schema import Schema
from backburner.errors import BrokerError
from backburner.job import JobRecord, Options
from backburner.lifecycle import Attempt, State
from backburner.retry import Retry

SCHEMA = Schema("app", "quorum")


def attempt(number: int, traceback: str) -> Attempt:
    return Attempt(
        attempt=number,
        token=number,
        worker="w",
        started_at=1.0,
        ended_at=2.0,
        outcome="retry",
        error="builtins.OSError",
        message="away",
        traceback=traceback,
    )


def there_and_back(job: JobRecord, history: list[Attempt], store: str = "") -> message.Received:
    sent = message.of(SCHEMA, job, 0.0, history=history, store=store)
    return message.received(sent.body, {**sent.properties.headers}, sent.properties.app_id)


def test_a_job_comes_out_as_it_went_in() -> None:
    job = JobRecord(
        id="1",
        task="shop.mail",
        payload=b'["\xf0\x9f\x93\xb7"]',
        queue="mail",
        priority=-7,
        created_at=1.25,
        run_at=2.5,
        expires_at=9.0,
        attempt=2,
        token=5,
        crashes=1,
        checkpoint=b"[1]",
        options=Options(retry=Retry(max_attempts=2), tags=("a",), meta={"by": "me"}),
    )
    found = there_and_back(job, [attempt(1, "Traceback")], "store-1")
    assert found == message.Received(job, [attempt(1, "Traceback")], "store-1")


def test_the_arguments_are_the_body_as_they_are() -> None:
    sent = message.of(SCHEMA, JobRecord("1", "t", b'["x",1]'), 0.0)
    assert sent.body == b'["x",1]'


def test_of_a_long_history_the_newest_is_kept_in_full() -> None:
    history = [attempt(number, "x" * 9_000) for number in range(40)]
    found = there_and_back(JobRecord("1", "t"), history).history
    assert found[-1] == history[-1]
    assert found[0].traceback is None
    assert [each.attempt for each in found] == [*range(40 - len(found), 40)]


@pytest.mark.parametrize("page", ["x" * 120_000, "ü" * 60_000])
def test_more_than_a_frame_beside_the_arguments_is_refused(page: str) -> None:
    job = JobRecord("1", "t", options=Options(meta={"page": page}))
    with pytest.raises(BrokerError, match="pass an id"):
        message.of(SCHEMA, job, 0.0)


def test_a_dead_letter_says_why_in_its_headers() -> None:
    job = JobRecord("1", "t", state=State.DEAD, reason="attempts used up")
    headers = message.dead(SCHEMA, job, 0.0, history=[attempt(1, "Traceback")]).properties.headers
    assert (headers["reason"], headers["error"]) == ("attempts used up", "builtins.OSError: away")


LONG_ID = {"job": '{"id": "%s", "task": "t"}' % ("i" * 300)}


@pytest.mark.parametrize("headers", [{}, {"job": "no JSON"}, {"job": '{"id": 7}'}, {"job": 7}, LONG_ID])
def test_a_message_of_somebody_else_is_told_from_ours(headers: dict[str, object]) -> None:
    with pytest.raises(BrokerError, match="no job of Backburner"):
        message.received(b"", headers, None)


def test_what_a_newer_version_wrote_comes_back_with_all_of_it() -> None:
    header = (
        '{"id":"1","task":"t","priority":3,"parent":{"id":7},"attempt":2,"token":5,'
        '"options":{"format":2,"tags":"of another type","after":["x"]}}'
    )
    found = message.received(b"[1]", {"job": header}, None)
    assert (found.job.id, found.job.priority, found.job.attempt, found.job.options.format) == ("1", 3, 2, 2)
    found.job.state, found.job.run_at, found.job.reason = State.SCHEDULED, 9.0, "later"
    sent = message.of(SCHEMA, found.job, 0.0, beyond=found.beyond)
    stored = msgspec.json.decode(sent.properties.headers["job"])
    assert stored["options"] == {"format": 2, "tags": "of another type", "after": ["x"]}
    assert (stored["parent"], stored["state"], stored["run_at"]) == ({"id": 7}, "scheduled", 9.0)
    assert (stored["attempt"], stored["reason"], sent.body) == (2, "later", b"[1]")
