"""What `backburner doctor` says of a RabbitMQ. It makes nothing and stores nothing; trouble is an answer.

1. Does each host of the URL answer, as a node of one cluster; is it new enough, and how is it reached?
2. May this user do what is needed? Asked of a queue that does not exist: RabbitMQ looks at the right first,
   so that "not found" means yes.
3. Does it take messages, and how soon does it answer? A message is published to nobody, and confirmed. A
   server whose alarm is set tells that to those who publish, instead.
4. Is what is there made as this URL wants it, and does anybody take from it? (`topology.py`)
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Collection, Iterator
from typing import Any

from msgspec.structs import replace
from pika import exceptions
from pika.adapters.utils.connection_workflow import AMQPConnectorException

from backburner.brokers.rabbitmq import topology
from backburner.brokers.rabbitmq.address import Address
from backburner.brokers.rabbitmq.errors import Lost, root, translation
from backburner.brokers.rabbitmq.link import Link, connect
from backburner.brokers.rabbitmq.schema import Schema
from backburner.brokers.rabbitmq.topology import ANSWER, answer
from backburner.doctor import Check, Level
from backburner.words import span

OLDEST = (3, 10)
"""The first that passes a delayed message from queue to queue without ever losing it."""
HEEDS_TIMEOUT = (3, 12)
"""The first where a queue says how long a job may run."""
SLOW = 0.01
"""Seconds for an answer from which on a worker that does little else loses half of its time."""
LATE = 0.5
"""Seconds for a confirm from which on something is wrong."""
HERE = {"localhost", "127.0.0.1", "::1"}
NOBODY = "nobody-has-this-name"
REFUSED = 403
_Trouble = (Lost, OSError, exceptions.AMQPError, AMQPConnectorException)


async def examine(address: Address, schema: Schema, queues: Collection[str]) -> list[Check]:
    """Every check, as far as they got; the topology of these queues."""
    checks: list[Check] = []
    links: list[Link] = []
    try:
        for host in address.hosts:
            try:
                links.append(await connect(replace(address, hosts=(host,)), "backburner doctor"))
            except _Trouble as error:
                checks.append(_away(host, error, address))
        if links:
            checks += [*_nodes(links, address), *_server(links[0]), *_transport(links[0], address)]
            checks += await _asked(links[0], address, schema, queues)
    except _Trouble as error:
        checks.append(Check(Level.FAIL, str(translation(error, address.shown))))
    finally:
        for link in links:
            await link.close()
    return checks


async def _asked(link: Link, address: Address, schema: Schema, queues: Collection[str]) -> list[Check]:
    missing = await _missing_rights(link, schema)
    checks = [await _speed(link), *await topology.compare(link, address, schema, queues)]
    # At last: a server whose alarm is set reads nothing more from this connection.
    found = await _takes_messages(link)
    if found is None:
        missing.append("write amq.default")
    else:
        checks.insert(0, found)
    return [_rights(missing, address), *checks]


# Reaching it ---------------------------------------------------------------------------------------------


def _away(host: tuple[str, int], error: BaseException, address: Address) -> Check:
    said = str(translation(error, address.shown))
    return Check(Level.FAIL, said if len(address.hosts) == 1 else f"node {host[0]}:{host[1]}: {said}")


def _nodes(links: list[Link], address: Address) -> Iterator[Check]:
    clusters = sorted({str(link.server.get("cluster_name")) for link in links})
    if len(clusters) > 1:
        yield Check(
            Level.FAIL,
            f"the hosts of the URL are of different clusters: {', '.join(clusters)}",
            "name nodes of one cluster: jobs would wait where no worker looks",
        )
    if len(address.hosts) > 1 and address.queues == "quorum" and len(address.hosts) % 2 == 0:
        yield Check(
            Level.WARN,
            f"the URL names {len(address.hosts)} nodes: an even number bears no more losses than one less",
            "take three nodes, or five",
        )
    if address.queues == "classic":
        yield Check(
            Level.WARN,
            "classic queues are on one node: when its disk is lost, so are the jobs",
            "take ?queues=quorum on a cluster, unless that is meant",
        )


def _server(link: Link) -> Iterator[Check]:
    product, version = (str(link.server.get(name, "")) for name in ("product", "version"))
    name = f"{product} {version}"
    found = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if product != "RabbitMQ":
        yield Check(Level.WARN, f"{name} answers, with which this was not tested", "take RabbitMQ")
    elif found < OLDEST:
        yield Check(
            Level.FAIL,
            f"{name} answers: it may lose a delayed job when it passes it on",
            "upgrade to RabbitMQ 3.10 or newer",
        )
    else:
        yield Check(Level.OK, f"{name} answers")
    if found < HEEDS_TIMEOUT:
        yield Check(
            Level.WARN,
            "a job that runs longer than consumer_timeout (30 min unless set) is taken away and runs twice",
            "if there are longer ones, write `consumer_timeout = 604800000` (a week, in ms) into "
            "rabbitmq.conf; from RabbitMQ 3.12 on the queues say so by themselves",
        )


def _transport(link: Link, address: Address) -> Iterator[Check]:
    heartbeat = link.raw.params.heartbeat
    if heartbeat:
        yield Check(Level.OK, f"a sign of life is given each {span(heartbeat)}")
    else:
        yield Check(
            Level.WARN,
            "no signs of life are agreed: a connection that breaks silently is noticed late",
            "write `heartbeat = 60` into rabbitmq.conf",
        )
    remote = sorted({host for host, _ in address.hosts} - HERE)
    if remote and not address.tls:
        yield Check(
            Level.WARN,
            f"jobs and the password travel to {', '.join(remote)} as plain text",
            "take amqps://, unless the network is private",
        )


# Asking it -----------------------------------------------------------------------------------------------


async def _missing_rights(link: Link, schema: Schema) -> list[str]:
    """Each probe names something that does not exist, and is refused for the want of a right, or of that."""
    missing: list[str] = []
    name = f"{schema.prefix}.{NOBODY}"
    probes: list[tuple[str, str, dict[str, Any]]] = [
        ("configure", "queue_delete", {"queue": name}),
        ("read", "queue_purge", {"queue": name}),
        ("write", "queue_bind", {"queue": name, "exchange": name}),
    ]
    for right, method, given in probes:
        # Binding takes the right to read the exchange, too: if that is wanting it tells nothing new.
        tells = right != "write" or not any(each.startswith("read") for each in missing)
        if tells and await _is_refused(link, method, given):
            missing.append(f"{right} {schema.prefix}.*")
    return missing


async def _is_refused(link: Link, method: str, given: dict[str, Any]) -> bool:
    channel = await link.channel()
    try:
        await answer(channel, method, **given)
    except Lost as error:
        if not link.is_open:
            raise
        return getattr(root(error), "reply_code", 0) == REFUSED
    channel.raw.close()
    return False


def _rights(missing: list[str], address: Address) -> Check:
    if not missing:
        return Check(Level.OK, f"user {address.username!r} may do all that is needed")
    names = rf"{re.escape(address.prefix)}\..*"
    return Check(
        Level.FAIL,
        f"user {address.username!r} may not {', '.join(missing)}",
        f"rabbitmqctl set_permissions --vhost {address.vhost} {address.username} "
        rf"'^{names}$' '^({names}|amq\.default)$' '^{names}$'",
    )


async def _speed(link: Link) -> Check:
    channel = await link.channel()
    times = []
    for _ in range(5):
        began = time.perf_counter()
        await answer(channel, "basic_qos", prefetch_count=1)
        times.append(time.perf_counter() - began)
    channel.raw.close()
    best = min(times)
    return Check(
        Level.WARN if best > SLOW else Level.OK,
        f"it answers within {best * 1000:.1f} ms",
        "run the workers nearer to it" if best > SLOW else None,
    )


async def _takes_messages(link: Link) -> Check | None:
    """Publish to nobody, which stores nothing. None: this user may not."""
    channel, confirmed, blocked = await link.channel(), asyncio.Event(), asyncio.Event()
    link.raw.add_on_connection_blocked_callback(lambda *_: blocked.set())
    await answer(channel, "confirm_delivery", ack_nack_callback=lambda _: confirmed.set())
    began = time.perf_counter()
    channel.raw.basic_publish("", NOBODY, b"")

    async def heard() -> float:
        """The confirm may come before the alarm: what is asked for then is answered when that is over."""
        await confirmed.wait()
        taken = time.perf_counter() - began
        await channel.call("basic_qos", prefetch_count=1)
        return taken

    hearing, alarm = asyncio.ensure_future(heard()), asyncio.ensure_future(blocked.wait())
    waits: list[asyncio.Future[Any]] = [hearing, alarm, channel.lost]
    await asyncio.wait(waits, timeout=ANSWER, return_when=asyncio.FIRST_COMPLETED)
    alarm.cancel()
    if not hearing.done():
        hearing.cancel()
    elif hearing.exception() is None:
        taken = hearing.result()
        return Check(
            Level.WARN if taken > LATE else Level.OK,
            f"it takes messages: one was confirmed within {span(taken)}",
            "see what its disk and its processors do" if taken > LATE else None,
        )
    if link.blocked is not None:
        return Check(
            Level.FAIL,
            f"it takes no messages: its alarm is set ({link.blocked})",
            "let workers take what waits, give it memory or disk, or change vm_memory_high_watermark or "
            "disk_free_limit in rabbitmq.conf",
        )
    if channel.lost.done() and getattr(channel.lost.result(), "reply_code", 0) == REFUSED:
        return None
    return Check(Level.FAIL, f"it confirmed no message within {ANSWER:g} s", "look at its log")
