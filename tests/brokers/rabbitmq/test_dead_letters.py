"""The dead letters of one queue: listed, queued again, deleted, and given back to RabbitMQ untouched."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from backburner import brokers
from backburner.brokers.base import Filter
from backburner.brokers.rabbitmq import dead_letters as module
from backburner.brokers.rabbitmq.broker import RabbitBroker
from backburner.errors import NotSupported
from backburner.inspector import Inspector
from backburner.job import JobRecord, Options
from backburner.lifecycle import State
from backburner.settings import Settings
from tests.brokers.rabbitmq.helpers import add, bury, dead_letters, publish, take, waiting
from tests.cli.helpers import Operator
from tests.servers.rabbitmq import RabbitServer

MAIL = Filter(states=(State.DEAD,), queue="mail")


@pytest.fixture(params=["quorum", "classic"])
def url(rabbit_url: str, request: pytest.FixtureRequest) -> str:
    return f"{rabbit_url}?queues={request.param}"


@pytest.fixture
def broker(url: str) -> Iterator[RabbitBroker]:
    """The worker's."""
    broker = RabbitBroker(url)
    yield broker
    broker.close()


@pytest.fixture
def operator(url: str) -> Iterator[RabbitBroker]:
    broker = RabbitBroker(url)
    yield broker
    broker.close()


def find(broker: RabbitBroker, which: Filter = MAIL) -> list[str]:
    return [job.id for job in broker.run(broker.find(which))]


def ids(jobs: list[JobRecord]) -> list[str]:
    return [job.id for job in jobs]


def test_they_are_listed_the_last_to_die_first(broker: RabbitBroker, operator: RabbitBroker) -> None:
    jobs = dead_letters(broker, 5)
    newest_first = ids(jobs)[::-1]
    assert find(operator) == newest_first
    [job] = operator.run(operator.get([jobs[0].id]))
    assert (job.state, job.reason, job.attempt) == (State.DEAD, "not retryable: NoAddress", 1)
    assert job.finished_at is not None
    [line] = operator.run(operator.history(jobs[0].id))
    assert (line.error, line.message) == ("shop.NoAddress", "no address")


def test_they_are_found_by_filter_and_in_pages(broker: RabbitBroker, operator: RabbitBroker) -> None:
    plain = dead_letters(broker, 3)
    [tagged] = dead_letters(broker, options=Options(tags=("vip",)), task="other")
    pages: list[list[str]] = []
    before = None
    while not pages or pages[-1]:
        before = pages[-1][-1] if pages else None
        pages.append(find(operator, Filter(states=(State.DEAD,), queue="mail", limit=2, before=before)))
    everything = [tagged.id, *ids(plain)[::-1]]
    assert pages == [everything[:2], everything[2:], []]
    for which in ({"tag": "vip"}, {"task": "other"}):
        assert find(operator, Filter(states=(State.DEAD,), queue="mail", **which)) == [tagged.id]  # type: ignore[arg-type]
    for text, count in (("no address", 4), ("not retryable", 4), ("no such text", 0)):
        assert len(find(operator, Filter(states=(State.DEAD,), queue="mail", error=text))) == count


def test_looking_leaves_them_where_they_are(url: str, broker: RabbitBroker) -> None:
    jobs = dead_letters(broker, 20)
    for _ in range(3):
        operator = RabbitBroker(url)
        assert find(operator) == ids(jobs)[::-1]
        operator.close()
        wait_until(url, 20)


def test_looking_makes_no_queue(broker: RabbitBroker, rabbit_server: RabbitServer, rabbit_url: str) -> None:
    assert find(broker) == []
    assert "dead" not in rabbit_server.ctl("list_queues", "--vhost", vhost(rabbit_url), "name")


def test_one_that_dies_meanwhile_is_listed_too(broker: RabbitBroker, operator: RabbitBroker) -> None:
    [first] = dead_letters(broker)
    assert find(operator) == [first.id]
    [second] = dead_letters(broker)
    assert find(operator) == [second.id, first.id]


def test_a_revived_one_runs_again_with_fresh_attempts_and_its_history(
    url: str, broker: RabbitBroker, operator: RabbitBroker
) -> None:
    dead, other = dead_letters(broker, 2, expires_in=0.001)
    assert len(find(operator)) == 2
    assert operator.run(operator.revive([dead.id, dead.id])) == [dead.id]
    assert find(operator) == [other.id]
    operator.close()
    wait_until(url, 1)
    [job] = take(broker, 10, "mail")
    assert (job.id, job.attempt, job.crashes, job.reason, job.expires_at) == (dead.id, 1, 0, None, None)
    assert job.token > dead.token
    bury(broker, [job], "still none")
    assert find(operator) == [job.id, other.id]
    assert [line.message for line in operator.run(operator.history(job.id))] == ["no address", "still none"]


def test_a_deleted_one_is_gone(url: str, broker: RabbitBroker, operator: RabbitBroker) -> None:
    jobs = dead_letters(broker, 3)
    find(operator)
    assert operator.run(operator.delete([jobs[1].id])) == [jobs[1].id]
    assert operator.run(operator.delete([jobs[1].id])) == []
    operator.close()
    wait_until(url, 2)
    assert find(operator) == [jobs[2].id, jobs[0].id]


def test_they_go_back_when_nobody_asks_for_them(
    monkeypatch: pytest.MonkeyPatch, url: str, broker: RabbitBroker, operator: RabbitBroker
) -> None:
    """And are found again for an operator who took his time."""
    monkeypatch.setattr(module, "HOLD", 0.1)
    [job] = dead_letters(broker)
    find(operator)
    wait_until(url, 1)
    assert operator.run(operator.revive([job.id])) == [job.id]
    assert ids(take(broker, 1, "mail")) == [job.id]


def test_a_connection_that_is_lost_meanwhile(
    rabbit_server: RabbitServer, broker: RabbitBroker, operator: RabbitBroker
) -> None:
    jobs = dead_letters(broker, 3)
    find(operator)
    rabbit_server.close_connections("a test")
    assert operator.run(operator.delete(ids(jobs)[:2])) == ids(jobs)[:2]
    assert find(operator) == [jobs[2].id]


def test_more_than_are_in_hand_at_once(
    monkeypatch: pytest.MonkeyPatch, broker: RabbitBroker, operator: RabbitBroker
) -> None:
    """Ten on each of two channels; when some are gone, others come."""
    monkeypatch.setattr(module, "WINDOW", 10)
    monkeypatch.setattr(module, "CHANNELS", 2)
    jobs = dead_letters(broker, 25)
    assert find(operator) == ids(jobs)[19::-1]
    assert len(operator.run(operator.delete(ids(jobs)[:20]))) == 20
    left = {*ids(jobs)[20:]}
    assert any(set(find(operator)) == left for _ in range(200)), "the server sends them when it has heard"


def test_what_no_worker_could_read_is_listed_and_can_only_be_deleted(
    url: str, broker: RabbitBroker, operator: RabbitBroker
) -> None:
    add(broker, queue="mail")
    assert take(broker, 1, "mail")
    publish(url, "backburner.normal.mail", b"hello")
    take(broker, 1, "mail")
    wait_until(url, 1)
    [job] = operator.run(operator.find(MAIL))
    assert (job.task, job.state) == ("unreadable", State.DEAD)
    assert "holds no job of Backburner" in (job.reason or "")
    assert operator.run(operator.revive([job.id])) == []
    assert operator.run(operator.delete([job.id])) == [job.id]
    assert find(operator) == []


def test_what_a_transport_cannot_find(operator: RabbitBroker) -> None:
    for which in (Filter(), Filter(queue="mail"), Filter(states=(State.DEAD,))):
        with pytest.raises(NotSupported, match="backburner dead list --queue NAME"):
            find(operator, which)
    for act in (operator.get, operator.revive, operator.delete):
        with pytest.raises(NotSupported, match="name the queue"):
            operator.run(act(["1234"]))
        assert operator.run(act([])) == []


def test_the_command_line(url: str, broker: RabbitBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKBURNER_URL", url)
    operator = Operator()
    jobs = dead_letters(broker, 4)
    mail = ("--queue", "mail")
    [header, *rows] = operator.table("dead", "list", *mail)
    assert header == ["ID", "STATE", "WHEN", "TASK"]
    assert rows[0][:2] == [jobs[3].id, "dead"]
    assert "no address" in rows[1][0]
    assert [job["id"] for job in operator.json("dead", "list", *mail)] == ids(jobs)[::-1]
    lines = [json.loads(line) for line in operator.read("dead", "export", *mail).splitlines()]
    assert [line["history"][0]["error"] for line in lines] == ["shop.NoAddress"] * 4
    assert operator.read("dead", "delete", *mail, "--error", "address", "--yes") == "deleted 4 jobs\n"
    dead_letters(broker, 2)
    assert operator.read("dead", "retry", *mail, "--yes") == "retried 2 jobs\n"
    assert operator.read("dead", "list", *mail) == "no such jobs\n"
    assert len(take(broker, 2, "mail")) == 2
    assert "name it, as in `backburner dead list --queue NAME`" in operator.refused("dead", "list", code=2)
    assert "name the queue" in operator.refused("dead", "show", jobs[0].id, code=2)


def test_progress_is_told_on_long_work(url: str, broker: RabbitBroker) -> None:
    dead_letters(broker, 600)
    inspector = Inspector(brokers.connect(url), Settings.build(url, {}))
    told: list[tuple[int, int]] = []
    found = inspector.ids(MAIL)
    assert len(inspector.retry(found, lambda done, of: told.append((done, of)))) == 600
    assert told == [(500, 600), (600, 600)]
    inspector.broker.close()


def wait_until(url: str, count: int) -> None:
    """So many dead letters wait on the server, none of them in hand: it puts them back in its own time."""
    for _ in range(10_000):
        if waiting(url, "dead.mail") == count:
            return
    raise AssertionError(f"there are {waiting(url, 'dead.mail')} dead letters, not {count}")


def vhost(url: str) -> str:
    return url.rpartition("/")[2].partition("?")[0]
