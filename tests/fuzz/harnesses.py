"""One harness for each thing that is decoded. It is given bytes, and raises when a promise does not hold.

1. What cannot be read raises an error of Backburner, and nothing else; a stored record raises nothing at all.
2. What was read can be used: shown, explained, settled, and written down for each broker.
3. What is written down again is read as the same.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import cycle
from typing import Any

import msgspec
from click.testing import CliRunner

from backburner import lifecycle
from backburner.brokers import flaws, redacted
from backburner.brokers.base import QueueInfo
from backburner.brokers.postgres import address as postgres_address
from backburner.brokers.postgres import rows as postgres_rows
from backburner.brokers.postgres import schema as postgres_schema
from backburner.brokers.rabbitmq import address as rabbitmq_address
from backburner.brokers.rabbitmq import message, wire
from backburner.brokers.rabbitmq.schema import Schema
from backburner.brokers.redis import address as redis_address
from backburner.brokers.redis import inspector as redis_inspector
from backburner.brokers.redis import schema as redis_schema
from backburner.brokers.sqlite import schema as sqlite_schema
from backburner.cli import main, output
from backburner.cli.render import job_page, job_table
from backburner.codec import Codec, decode_result
from backburner.errors import BackburnerError, BrokerError, CodecError, ConfigError
from backburner.explain import Facts, reasons
from backburner.job import FORMAT, JobRecord
from backburner.lifecycle import Attempt, ErrorInfo, Settlement, State, crashed, dead, retrying, snoozed
from backburner.schedule import Schedule, describe, due, next_fire, validated
from backburner.settings import Settings
from backburner.signature import Signature
from backburner.views import job_view, schedule_view
from backburner.worker import outcome
from backburner.worker.blackbox import WIDTH, BlackBox
from backburner.worker.messages import Line, Pulse

Harness = Callable[[bytes], None]
NOW = 1_800_000_000.0
SETTINGS = Settings(url="sqlite://")
SCHEMA = Schema("backburner", "quorum")


def parts(data: bytes) -> list[bytes]:
    """What separates the parts of an input is a text that is seldom within one."""
    return data.split(b"|~|")


# Stored jobs --------------------------------------------------------------------------------------------


def redis_row(data: bytes) -> None:
    """Head, numbers, options, payload, result, progress, checkpoint and id."""
    head, numbers, options, payload, result, progress, checkpoint, job_id, *_ = [*parts(data), *[b""] * 8]
    row = (
        head,
        payload,
        options or None,
        numbers,
        result or None,
        progress or None,
        checkpoint or None,
        job_id,
    )
    use(redis_schema.record(row))


def sql_row(data: bytes) -> None:
    """A row of SQLite and of PostgreSQL: the columns have types, and each may hold any value of its own."""
    menus = columns(data)
    texts = [next(menu) for menu in menus]
    use(sqlite_schema.record(tuple(texts)))
    for at in (2, 15, 19, 20, 21):
        texts[at] = texts[at] and texts[at].decode(errors="replace")
    texts[18] = bool(texts[18])
    use(postgres_schema.record(tuple(texts)))


def columns(data: bytes) -> list[Iterator[Any]]:
    pieces = cycle([each for each in parts(data) if each] or [b"x"])
    extremes = (0.0, NOW, float("nan"), float("inf"), -1e300, 1e12, 2.5)

    def text() -> str:
        return next(pieces).decode(errors="replace")

    def number() -> int:
        piece = next(pieces)[:8]
        return int.from_bytes(piece, "big", signed=True)

    def blob() -> bytes:
        return next(pieces)

    def time() -> float:
        return extremes[number() % len(extremes)]

    def state() -> str:
        known = [*State, text()]
        return str(known[number() % len(known)])

    def maybe(make: Callable[[], Any]) -> Any:
        return make() if number() % 2 else None

    makers: list[Callable[[], Any]] = [
        *(text, text, blob, text, number, state, time, time, lambda: maybe(time)),
        *(number, number, number, lambda: maybe(text), lambda: maybe(time), lambda: maybe(time)),
        *(
            lambda: maybe(lambda: next(pieces)),
            lambda: maybe(text),
            lambda: maybe(text),
            lambda: number() % 2,
        ),
        *(
            lambda: maybe(lambda: next(pieces)),
            lambda: maybe(lambda: next(pieces)),
            lambda: next(pieces),
            number,
        ),
    ]
    return [iter(make, object()) for make in makers]


def use(job: JobRecord) -> None:
    """All that is done with a job that was read: by a worker, by each broker, and for a person."""
    if job.flaw is not None:
        assert len(job.flaw) < 5_000
        job.flaw.encode()
    job.worker = job.worker or "w"
    error = ErrorInfo("E", "no")
    refused = lifecycle.refused(job, SETTINGS, FORMAT, NOW)
    ends = [] if refused is None else [refused]
    if job.flaw is None and job.options.format <= 1:
        judged = outcome.judged(
            job, outcome.verdict(TASK, job, ValueError("no"), SETTINGS, NOW), SETTINGS, NOW
        )
        ends += [judged, retrying(job, error, 1.0, NOW), dead(job, error, "no", NOW)]
        ends += [snoozed(job, 1.0, NOW), crashed(job, NOW, poison_after=3)]
    written(ends)
    history = [] if ends[0].log is None else [ends[0].log]
    document = msgspec.json.encode(job_view(job, history))
    assert json.loads(document)["id"] == job.id
    output.show(*job_page(job, history, NOW), job_table([job], {}, NOW))
    assert reasons(job, Facts(now=NOW, queue=QueueInfo(name=job.queue, counts={}), history=history))


def written(ends: list[Settlement]) -> None:
    """Each broker can write down how the claim ended."""
    redis_schema.encode(redis_schema.settled(ends, [])[:3])
    assert postgres_rows.settlement_rows(ends)
    for each in ends:
        assert each.log is None or flaws.attempt(msgspec.json.encode(each.log)) == each.log


class _Task:
    """As much of a task as judging an error takes."""

    retry = None
    name = "t"


TASK: Any = _Task()


def options(data: bytes) -> None:
    try:
        found = flaws.options(data)
    except flaws.DAMAGE:
        return
    assert flaws.options(msgspec.json.encode(found)) == found


def history(data: bytes) -> None:
    line = flaws.attempt(data)
    assert isinstance(msgspec.json.decode(msgspec.json.encode(line), type=Attempt), Attempt)


# RabbitMQ -----------------------------------------------------------------------------------------------


def amqp_message(data: bytes) -> None:
    """The header of a job, its history, and its body."""
    header, lines, body, *_ = [*parts(data), b"", b""]
    given: list[Any] = [header, header.decode(errors="replace")]
    for each in given:
        headers = {"job": each, "history": lines}
        try:
            found = message.received(body, headers, None)
        except BrokerError as error:
            kept = message.unreadable(SCHEMA, "default", body, headers, error)
            assert wire.publication(1, "", "q", True, kept.properties, body, 100_000)
            continue
        job = found.job
        use(msgspec.structs.replace(job))
        again: list[message.Message] = [message.dead(SCHEMA, job, NOW, history=found.history)]
        with suppress(BrokerError):  # too large for RabbitMQ, or too far away
            again.append(message.of(SCHEMA, job, NOW, history=found.history, beyond=found.beyond))
            again.append(message.returned(SCHEMA, job, history=found.history, beyond=found.beyond))
        for sent in again:
            back = message.received(sent.body, dict(sent.properties.headers), None)
            assert (back.job.id, back.job.payload, back.job.options) == (job.id, body, job.options)


def amqp_frames(data: bytes) -> None:
    with suppress(wire.Incomplete):
        found = wire.read(data, 0)
        assert found is None or found.end <= len(data)
    wire.properties(data)


def amqp_control(data: bytes) -> None:
    with suppress(BrokerError):
        message.told(data)


# Processes ----------------------------------------------------------------------------------------------


def supervisor_line(data: bytes) -> None:
    """What is sent is understood, and what comes after it heard; or it is nonsense, and told as that."""

    async def heard() -> list[Any]:
        reader = asyncio.StreamReader(limit=1 << 16)
        reader.feed_data(data + b"\n" + msgspec.json.encode(Pulse(1, 2, True)) + b"\n")
        reader.feed_eof()
        return [each async for each in Line(reader, None).messages()]  # type: ignore[arg-type]

    with suppress(msgspec.DecodeError, ValueError):
        assert asyncio.run(heard())[-1] == Pulse(1, 2, True)


def black_box(data: bytes) -> None:
    box, descriptor = BlackBox.make(3)
    with io.FileIO(descriptor, "w") as memory:
        memory.write(data[: 3 * WIDTH])
    assert "no such job" not in box.started()
    box.close()


# Arguments and results ----------------------------------------------------------------------------------


def _plain(a: int, b: str = "", c: list[float] | None = None) -> None: ...


def _mixed(a: dict[str, int], /, *rest: bytes, named: float, **more: Any) -> None: ...


def _free(anything: Any, *rest: Any) -> None: ...


SIGNATURES = [Signature(each, "task", Codec()) for each in (_plain, _mixed, _free)]


def arguments(data: bytes) -> None:
    for signature in SIGNATURES:
        try:
            args, kwargs = signature.decode(data)
        except CodecError:
            continue
        with suppress(CodecError):  # too deep to be written, though it was read
            again = signature.decode(signature.encode(args, kwargs, 1 << 30))
            assert repr(again) == repr((args, kwargs))


def result(data: bytes) -> None:
    for kind in (Any, int, dict[str, int], Settings):
        with suppress(CodecError):
            decode_result(data, kind)


# Schedules ----------------------------------------------------------------------------------------------


def cron(data: bytes) -> None:
    expression, zone, *_ = [*parts(data), b""]
    schedule = Schedule(
        name="s",
        task="t",
        cron=expression.decode(errors="replace"),
        tz=zone.decode(errors="replace") or "UTC",
    )
    with suppress(ConfigError):
        validated(schedule)
    fires(schedule)


def fires(schedule: Schedule) -> None:
    """A schedule that nobody has checked."""
    with suppress(ConfigError):
        assert describe(schedule)
    with suppress(ConfigError):
        at = next_fire(schedule, NOW)
        assert at is None or at > NOW
    with suppress(ConfigError):
        found = due(schedule, NOW - 3600.0, NOW)
        assert len(found.fires) <= max(schedule.missed_cap, 1)
        assert found.next_at is None or found.next_at > NOW


def stored_schedule(data: bytes) -> None:
    found = flaws.schedule("s", data, NOW, None, False, True)
    msgspec.json.encode(schedule_view(found))
    fires(found.schedule)


def redis_lines(data: bytes) -> None:
    """What Redis keeps of workers and schedules."""
    redis_inspector._worker_info("w", data)
    flaws.schedule("s", *redis_inspector._where(data))


# What people type ---------------------------------------------------------------------------------------


def url(data: bytes) -> None:
    text = data.decode(errors="replace")
    redacted(text)
    for scheme, read in (
        ("redis", redis_address.read),
        ("redis+sentinel", redis_address.read),
        ("redis+cluster", redis_address.read),
        ("postgresql", postgres_address.parsed),
        ("amqp", rabbitmq_address.read),
    ):
        with suppress(ConfigError):
            read(f"{scheme}://{text}")


COMMANDS = (
    ("jobs", "list"),
    ("dead", "list"),
    ("dead", "retry"),
    ("dead", "delete"),
    ("jobs", "cancel"),
    ("jobs", "show"),
    ("explain",),
    ("queues", "pause"),
    ("schedules", "show"),
    ("stats",),
)


def command_line(data: bytes) -> None:
    """Arguments and options, for a queue in memory."""
    first, *given = parts(data)
    command = COMMANDS[(first or b"\0")[0] % len(COMMANDS)]
    words = [each.decode(errors="replace") for each in given]
    done = CliRunner().invoke(main, [*command, "--url", "sqlite://", *words], input="y\n")
    assert done.exception is None or isinstance(done.exception, SystemExit | BackburnerError), words
    assert done.exit_code in (0, 1, 2)


HARNESSES: dict[str, Harness] = {
    each.__name__: each
    for each in (
        *(redis_row, sql_row, options, history, amqp_message, amqp_frames, amqp_control),
        *(supervisor_line, black_box, arguments, result, cron, stored_schedule, redis_lines),
        *(url, command_line),
    )
}
