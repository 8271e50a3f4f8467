from __future__ import annotations

import asyncio
from pathlib import Path

import aio_pika
import pytest
from aio_pika.abc import AbstractConnection, AbstractQueue, FieldValue
from aio_pika.exceptions import AMQPConnectionError, ProbableAuthenticationError

from tests.servers.base import wait_until
from tests.servers.rabbitmq import RabbitServer

Arguments = dict[str, FieldValue] | None
QUORUM: Arguments = {"x-queue-type": "quorum"}


async def publish(connection: AbstractConnection, queue: str, text: str) -> None:
    """Return when the server has confirmed it."""
    channel = await connection.channel()
    message = aio_pika.Message(text.encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    await channel.default_exchange.publish(message, queue)


async def declare(connection: AbstractConnection, queue: str, arguments: Arguments = None) -> AbstractQueue:
    return await (await connection.channel()).declare_queue(queue, durable=True, arguments=arguments)


async def read(queue: AbstractQueue) -> str:
    return (await queue.get(no_ack=True)).body.decode()


@pytest.mark.parametrize("arguments", [None, QUORUM], ids=["classic", "quorum"])
async def test_data_survives_a_kill(tmp_path: Path, arguments: Arguments) -> None:
    with RabbitServer(tmp_path) as server:
        async with await aio_pika.connect(server.url) as connection:
            await declare(connection, "words", arguments)
            await publish(connection, "words", "kept")
            pid, url = server.pid, server.url
            server.sync()
            server.kill()
        server.start()
        assert server.url == url
        assert server.pid != pid
        async with await aio_pika.connect(server.url) as connection:
            assert await read(await declare(connection, "words", arguments)) == "kept"


def test_it_is_not_the_nodes_of_the_machine(rabbit_server: RabbitServer) -> None:
    assert rabbit_server.evaluate("os:getpid()") == f'"{rabbit_server.pid}"'
    assert rabbit_server.evaluate("nodes()") == "[]"
    assert rabbit_server.ctl("list_vhosts", "--no-table-headers").split() == ["/"]
    assert {connection.laddr.port for connection in rabbit_server.family()[0].net_connections()} == {
        rabbit_server.port,
        rabbit_server.distribution,
    }


def test_two_of_them_do_not_meet(rabbit_server: RabbitServer, tmp_path: Path) -> None:
    with RabbitServer(tmp_path) as other:
        assert other.evaluate("node()") == rabbit_server.evaluate("node()")
        assert other.evaluate("nodes()") == rabbit_server.evaluate("nodes()") == "[]"
        assert other.evaluate("erlang:get_cookie()") != rabbit_server.evaluate("erlang:get_cookie()")


async def test_a_virtual_host_is_a_name_space_of_its_own(
    rabbit_server: RabbitServer, rabbit_url: str
) -> None:
    async with await aio_pika.connect(rabbit_url) as one, await aio_pika.connect(rabbit_server.url) as other:
        await declare(one, "words")
        await publish(one, "words", "kept")
        with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
            await (await other.channel()).declare_queue("words", passive=True)


async def test_an_alarm_blocks_who_publishes_until_it_is_cleared(
    rabbit_server: RabbitServer, rabbit_url: str
) -> None:
    async with await aio_pika.connect(rabbit_url) as connection:
        queue = await declare(connection, "words")
        rabbit_server.raise_alarm()
        publishing = asyncio.create_task(publish(connection, "words", "late"))

        def blocked() -> bool:
            return "blocked" in rabbit_server.evaluate("rabbit_networking:connection_info_all([state])")

        await asyncio.to_thread(wait_until, blocked, "the server blocks the connection")
        assert not publishing.done()
        rabbit_server.clear_alarm()
        await publishing
        assert await read(queue) == "late"


async def test_the_server_closes_connections_and_says_why(
    rabbit_url: str, rabbit_server: RabbitServer
) -> None:
    connection = await aio_pika.connect(rabbit_url)
    closed: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
    connection.close_callbacks.add(lambda _, reason: closed.set_result(reason))
    rabbit_server.close_connections("maintenance at noon")
    assert "CONNECTION_FORCED - maintenance at noon" in str(await closed)


async def test_a_password_is_asked_for_and_its_settings_can_be_chosen(tmp_path: Path) -> None:
    with RabbitServer(tmp_path, "channel_max = 7", password="a secret") as server:
        async with await aio_pika.connect(server.url):
            assert (
                server.evaluate("rabbit_networking:connection_info_all([channel_max])")
                == "[[{channel_max, 7}]]"
            )
        with pytest.raises(ProbableAuthenticationError):
            await aio_pika.connect(port=server.port)


async def test_tls_is_spoken_by_who_trusts_its_certificate(tmp_path: Path) -> None:
    with RabbitServer(tmp_path, tls=True) as server:
        assert server.url.startswith("amqps://")
        async with await aio_pika.connect(server.url):
            pass
        with pytest.raises(AMQPConnectionError, match="certificate"):
            await aio_pika.connect(port=server.port, ssl=True)
