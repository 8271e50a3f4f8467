"""What `backburner doctor` finds, and what it tells a person to do."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest

from backburner import Backburner
from backburner.brokers.base import Claim
from backburner.brokers.rabbitmq import address
from backburner.brokers.rabbitmq.broker import RabbitBroker
from backburner.doctor import Check, Level
from tests.brokers.rabbitmq.helpers import add, ask, dead_letters, take
from tests.cli.helpers import Operator
from tests.servers.base import free_port
from tests.servers.rabbitmq import RabbitServer

QUEUES = ("default", "mail")


@pytest.fixture
def url(rabbit_url: str) -> str:
    return f"{rabbit_url}?prefix=shop"


@pytest.fixture
def broker(url: str) -> Iterator[RabbitBroker]:
    broker = RabbitBroker(url)
    yield broker
    broker.close()


def checkup(url: str) -> list[Check]:
    broker = RabbitBroker(url)
    try:
        return broker.checkup(QUEUES)
    finally:
        broker.close()


def found(url: str, words: str) -> Check:
    checks = checkup(url)
    [check] = [check for check in checks if words in check.text]
    return check


def names(server: RabbitServer, url: str) -> list[str]:
    vhost = address.read(url).vhost
    return [
        line
        for kind in ("queues", "exchanges")
        for line in server.ctl(f"list_{kind}", "--vhost", vhost, "name").split()
    ]


def test_a_healthy_server(broker: RabbitBroker, url: str) -> None:
    add(broker, 2)
    add(broker, delay=60.0)
    assert take(broker)
    dead_letters(broker)
    checks = checkup(url)
    assert {check.level for check in checks if "consumer_timeout" not in check.text} == {Level.OK}, checks
    text = "\n".join(check.text for check in checks)
    for words in (
        "RabbitMQ 3.",
        "a sign of life is given each 60 s",
        "user 'guest' may do all that is needed",
        "one was confirmed within",
        "it answers within",
        "is as this URL wants it",
        "1 job is not due yet",
        "queue 'default' has",
        "queue 'mail' has 1 dead letter",
    ):
        assert words in text


def test_looking_makes_nothing(rabbit_server: RabbitServer, url: str) -> None:
    before = names(rabbit_server, url)
    assert found(url, "queue 'default' is not there yet").level is Level.OK
    assert names(rabbit_server, url) == before


def test_a_server_that_is_away() -> None:
    [check] = RabbitBroker(f"amqp://127.0.0.1:{free_port()}").checkup()
    assert check.level is Level.FAIL
    assert "cannot be reached" in check.text


def test_a_node_of_several_that_is_away(rabbit_server: RabbitServer, url: str) -> None:
    away = free_port()
    both = url.replace(f":{rabbit_server.port}/", f":{rabbit_server.port},127.0.0.1:{away}/")
    assert found(both, f"node 127.0.0.1:{away}").level is Level.FAIL
    assert found(both, "names 2 nodes").level is Level.WARN
    assert found(both, "RabbitMQ 3.").level is Level.OK


def test_jobs_longer_than_the_consumer_timeout(rabbit_server: RabbitServer, url: str) -> None:
    """Only a server before 3.12 does not heed what the queues say."""
    version = rabbit_server.ctl("version").strip()
    told = [check for check in checkup(url) if "consumer_timeout" in check.text]
    if tuple(map(int, version.split(".")[:2])) >= (3, 12):
        assert told == []
    else:
        [check] = told
        assert check.level is Level.WARN
        assert "consumer_timeout = 604800000" in (check.next_step or "")


@pytest.mark.parametrize(("before", "now"), [("quorum", "classic"), ("classic", "quorum")])
def test_queues_of_another_kind(rabbit_url: str, before: str, now: str) -> None:
    broker = RabbitBroker(f"{rabbit_url}?queues={before}")
    add(broker, delay=60.0)
    broker.close()
    check = found(f"{rabbit_url}?queues={now}", " this URL wants ")
    assert check.level is Level.FAIL
    assert check.text == (
        f"queue backburner.delay.0 and 29 more have x-queue-type {before}, and this URL wants {now}"
    )
    assert f"?queues={before}" in (check.next_step or "")
    assert f"`rabbitmqctl delete_queue --vhost {address.read(rabbit_url).vhost} backburner." in (
        check.next_step or ""
    )


def test_the_command_that_it_gives_makes_room(rabbit_server: RabbitServer, url: str) -> None:
    name = "shop.dead.mail"
    ask(
        url,
        "queue_declare",
        queue=name,
        durable=True,
        arguments={"x-max-length": 5, "x-queue-type": "quorum"},
    )
    check = found(url, "has x-max-length 5, and this URL wants none")
    command = (check.next_step or "").split("`")[1]
    assert command == f"rabbitmqctl delete_queue --vhost {address.read(url).vhost} {name}"
    rabbit_server.ctl(*shlex.split(command)[1:])
    assert found(url, "is as this URL wants it").level is Level.OK


def test_an_exchange_of_another_kind(url: str) -> None:
    name = "shop.control"
    ask(url, "exchange_declare", exchange=name, exchange_type="direct")
    check = found(url, " this URL wants ")
    assert check.text.startswith(f"exchange {name} has type direct, and this URL wants fanout")
    ask(url, "exchange_delete", exchange=name)


def test_a_user_with_too_few_rights(rabbit_server: RabbitServer, url: str) -> None:
    """The command that the doctor gives is enough: a job then goes all the way."""
    rabbit_server.ctl("add_user", "small", "pw")
    own = url.replace("guest:guest", "small:pw")
    try:
        assert "no such virtual host" in found(own, "may not use it").text
        rabbit_server.ctl(
            "set_permissions", "--vhost", address.read(url).vhost, "small", "^other", "^other", "^other"
        )
        check = found(own, "user 'small' may not")
        assert check.level is Level.FAIL
        assert "configure shop.*, read shop.*" in check.text
        assert "write amq.default" in check.text
        rabbit_server.ctl(*shlex.split(check.next_step or "")[1:])
        assert found(own, "user 'small'").level is Level.OK
        broker = RabbitBroker(own)
        add(broker)
        add(broker, delay=0.5)
        broker.run(broker.set_queue("other", paused=True))
        assert dead_letters(broker, 2)
        [job] = take(broker)
        broker.run(broker.exchange([], Claim(worker="w", queues=("mail",), limit=1)))
        assert broker.run(broker.firing()) == []
        broker.close()
        assert job.task == "t"
    finally:
        rabbit_server.ctl("delete_user", "small")


def test_an_alarm(rabbit_server: RabbitServer, url: str) -> None:
    rabbit_server.raise_alarm()
    try:
        check = found(url, "takes no messages")
        assert check.level is Level.FAIL
        assert "low on memory" in check.text
        assert found(url, "it answers within").level is Level.OK
    finally:
        rabbit_server.clear_alarm()


def test_a_queue_that_nobody_serves_and_one_that_is_paused(broker: RabbitBroker, url: str) -> None:
    add(broker, 3, queue="mail")
    check = found(url, "queue 'mail' has 3 jobs waiting and no worker asks for them")
    assert check.next_step == "backburner worker MODULE:APP --queues mail, unless all of its workers are busy"
    broker.run(broker.set_queue("mail", paused=True))
    check = found(url, "queue 'mail' has 3 jobs waiting and is paused")
    assert (check.level, check.next_step) == (Level.WARN, "backburner queues resume mail")


def test_heartbeats_that_are_off() -> None:
    with RabbitServer(None, "heartbeat = 0") as server:
        assert found(server.url, "no signs of life").level is Level.WARN


def test_classic_queues_are_not_replicated(rabbit_url: str) -> None:
    assert found(f"{rabbit_url}?queues=classic", "classic queues are on one node").level is Level.WARN


def test_the_way_to_another_host_should_be_encrypted(rabbit_server: RabbitServer, url: str) -> None:
    """`127.0.0.2` is this machine, too, and not known to be."""
    assert not any("plain text" in check.text for check in checkup(url))
    check = found(url.replace(f":{rabbit_server.port}/", f":{rabbit_server.port},127.0.0.2/"), "plain text")
    assert (check.level, "amqps://" in (check.next_step or "")) == (Level.WARN, True)
    assert check.text == "jobs and the password travel to 127.0.0.2 as plain text"


def test_the_command_line_looks_at_the_queues_that_it_is_told(broker: RabbitBroker, url: str) -> None:
    add(broker, 3, queue="mail")
    said = Operator().json("doctor", "--url", url, "--queue", "mail")
    assert any("queue 'mail' has 3 jobs waiting" in check["text"] for check in said)
    assert not any("'default'" in check["text"] for check in said)
    ask(url, "queue_declare", queue="shop.dead.post", durable=True, arguments={"x-queue-type": "classic"})
    result = Operator().type("doctor", "--url", url, "--queue", "post")
    assert result.exit_code == 1


def test_an_app_knows_its_queues(url: str) -> None:
    app = Backburner(url)

    @app.task(queue="mail")
    def send() -> None: ...

    texts = "\n".join(check.text for check in app.inspector.checkup())
    app.close()
    assert "queue 'default' is not there yet" in texts
    assert "queue 'mail' is not there yet" in texts
