from __future__ import annotations

import ssl
import threading
from pathlib import Path
from typing import Any

import pika
import pytest
from pika.exceptions import (
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    ProbableAuthenticationError,
)

from tests.servers.base import wait_until
from tests.servers.rabbitmq import RabbitServer

QUORUM = {"x-queue-type": "quorum"}


def connected(url: str) -> Any:
    return pika.BlockingConnection(pika.URLParameters(url))


def publish(connection: Any, queue: str, text: str) -> None:
    """Return when the server has confirmed it."""
    channel = connection.channel()
    channel.confirm_delivery()
    channel.basic_publish("", queue, text.encode(), pika.BasicProperties(delivery_mode=2))


def read(connection: Any, queue: str) -> str:
    body: bytes = connection.channel().basic_get(queue, auto_ack=True)[2]
    return body.decode()


def test_a_node_whose_log_drops_its_lines_is_seen_to_be_ready() -> None:
    with RabbitServer(None, "log.console.level = critical") as server, connected(server.url) as connection:
        assert connection.is_open
    assert not server.running


@pytest.mark.parametrize("arguments", [None, QUORUM], ids=["classic", "quorum"])
def test_data_survives_a_kill(tmp_path: Path, arguments: dict[str, str] | None) -> None:
    with RabbitServer(tmp_path) as server:
        with connected(server.url) as connection:
            connection.channel().queue_declare("words", durable=True, arguments=arguments)
            publish(connection, "words", "kept")
        pid, url = server.pid, server.url
        server.sync()
        server.kill()
        server.start()
        assert server.url == url
        assert server.pid != pid
        with connected(server.url) as again:
            assert read(again, "words") == "kept"


def test_it_is_not_the_nodes_of_the_machine(rabbit_server: RabbitServer) -> None:
    assert rabbit_server.evaluate("os:getpid()") == f'"{rabbit_server.pid}"'
    assert rabbit_server.evaluate("nodes()") == "[]"
    assert rabbit_server.ctl("list_vhosts", "--no-table-headers").split() == ["/"]
    listening = [each for each in rabbit_server.family()[0].net_connections() if each.status == "LISTEN"]
    assert {each.laddr.port for each in listening} == {rabbit_server.port, rabbit_server.distribution}


def test_two_of_them_do_not_meet(rabbit_server: RabbitServer, tmp_path: Path) -> None:
    with RabbitServer(tmp_path) as other:
        assert other.evaluate("node()") == rabbit_server.evaluate("node()")
        assert other.evaluate("nodes()") == rabbit_server.evaluate("nodes()") == "[]"
        assert other.evaluate("erlang:get_cookie()") != rabbit_server.evaluate("erlang:get_cookie()")


def test_a_virtual_host_is_a_name_space_of_its_own(rabbit_server: RabbitServer, rabbit_url: str) -> None:
    with connected(rabbit_url) as one, connected(rabbit_server.url) as other:
        one.channel().queue_declare("words", durable=True)
        publish(one, "words", "kept")
        with pytest.raises(ChannelClosedByBroker, match="NOT_FOUND"):
            other.channel().queue_declare("words", passive=True)


def test_an_alarm_blocks_who_publishes_until_it_is_cleared(
    rabbit_server: RabbitServer, rabbit_url: str
) -> None:
    with connected(rabbit_url) as connection:
        connection.channel().queue_declare("words", durable=True)
        rabbit_server.raise_alarm()
        publishing = threading.Thread(target=publish, args=(connection, "words", "late"))
        publishing.start()

        def blocked() -> bool:
            return "blocked" in rabbit_server.evaluate("rabbit_networking:connection_info_all([state])")

        wait_until(blocked, "the server blocks the connection")
        assert publishing.is_alive()
        rabbit_server.clear_alarm()
        publishing.join(30)
        assert read(connection, "words") == "late"


def test_the_server_closes_connections_and_says_why(rabbit_url: str, rabbit_server: RabbitServer) -> None:
    connection = connected(rabbit_url)
    rabbit_server.close_connections("maintenance at noon")
    with pytest.raises(ConnectionClosedByBroker, match="CONNECTION_FORCED - maintenance at noon"):
        connection.process_data_events(30)


def test_a_password_is_asked_for_and_its_settings_can_be_chosen(tmp_path: Path) -> None:
    with RabbitServer(tmp_path, "channel_max = 7", password="a secret") as server:
        with connected(server.url):
            assert (
                server.evaluate("rabbit_networking:connection_info_all([channel_max])")
                == "[[{channel_max, 7}]]"
            )
        with pytest.raises(ProbableAuthenticationError):
            connected(f"amqp://guest:guest@127.0.0.1:{server.port}/")


def test_tls_is_spoken_by_who_trusts_its_certificate(tmp_path: Path) -> None:
    with RabbitServer(tmp_path, tls=True) as server:
        assert server.url.startswith("amqps://")
        assert server.certificates
        for trusted in (server.certificates.authority, None):
            context = ssl.create_default_context(cafile=trusted)
            parameters = pika.ConnectionParameters(
                "127.0.0.1", server.port, ssl_options=pika.SSLOptions(context, "127.0.0.1")
            )
            if trusted:
                pika.BlockingConnection(parameters).close()
            else:
                with pytest.raises(ssl.SSLCertVerificationError):
                    pika.BlockingConnection(parameters)
