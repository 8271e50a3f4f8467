"""A task: a function that can be run later, and how."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, ParamSpec, Self, TypedDict, TypeVar, Unpack

import msgspec

from backburner import signature
from backburner.errors import ConfigError
from backburner.job import FRESH, NO_OPTIONS, Job, JobRecord, Options, new_id, new_ids
from backburner.retry import Retry

if TYPE_CHECKING:
    from backburner.app import Backburner

P = ParamSpec("P")
R = TypeVar("R")


class Kind(StrEnum):
    """Where a task runs."""

    COROUTINE = "coroutine"
    THREAD = "thread"
    PROCESS = "process"


class TaskOptions(TypedDict, total=False):
    """What `@app.task` takes. Times in seconds."""

    name: str
    queue: str
    priority: int
    retry: Retry
    timeout: float | None
    result_ttl: float
    expires: float | datetime
    tags: Sequence[str]
    meta: Mapping[str, Any]
    cpu: bool


class UsingOptions(TypedDict, total=False):
    """What `using` takes: options of one enqueue. Times in seconds."""

    queue: str
    priority: int
    delay: float
    run_after: datetime
    expires: float | datetime
    idempotency_key: str
    retry: Retry
    timeout: float
    result_ttl: float
    tags: Sequence[str]
    meta: Mapping[str, Any]
    connection: Any


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """Where and when one enqueue puts a job."""

    queue: str = "default"
    priority: int = 0
    delay: float | None = None
    run_after: datetime | None = None
    expires: float | datetime | None = None
    idempotency_key: str | None = None
    connection: Any = None
    options: Options = NO_OPTIONS


class Task(Generic[P, R]):
    """A function registered with an app. Calling it runs it here and now; `enqueue` runs it in a worker."""

    def __init__(
        self,
        app: Backburner,
        name: str,
        function: Callable[..., Any] | None,
        kind: Kind,
        placement: Placement,
        retry: Retry | None = None,
        timeout: float | None = None,
        result_ttl: float | None = None,
    ) -> None:
        self.app = app
        self.name = name
        self.function = function
        self.kind = kind
        self.placement = placement
        self._blank = _blank(name, placement)
        self.retry = retry
        self.timeout = timeout
        self.result_ttl = result_ttl
        self.signature = signature.Signature(function, name, app.codec) if function else None
        if function is not None:
            self.__name__, self.__doc__ = function.__name__, function.__doc__
            self.__module__, self.__qualname__ = function.__module__, function.__qualname__
            self.__wrapped__ = function

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    def using(self, **options: Unpack[UsingOptions]) -> Self:
        """This task with other options for the jobs it enqueues; takes those of `UsingOptions`."""
        changed = object.__new__(type(self))
        changed.__dict__.update(self.__dict__)
        changed.placement = placed(self.placement, self.name, dict(options), UsingOptions)
        changed._blank = _blank(self.name, changed.placement)
        return changed

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Store a job that calls this task with these arguments; returns when it is safe on disk.

        Raises `CodecError`, `PayloadTooLarge`, `QueueFull`, `BrokerUnavailable`.
        """
        return self.app.producer.store(self, [self.prepare(args, kwargs)])[0]

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """`enqueue`, without blocking the event loop."""
        return (await self.app.producer.astore(self, [self.prepare(args, kwargs)]))[0]

    def enqueue_many(self, calls: Iterable[Sequence[Any]]) -> list[Job[R]]:
        """One job for each sequence of positional arguments, in one round trip per thousand."""
        return self.app.producer.store(self, self._prepared(calls))

    async def aenqueue_many(self, calls: Iterable[Sequence[Any]]) -> list[Job[R]]:
        return await self.app.producer.astore(self, self._prepared(calls))

    def _prepared(self, calls: Iterable[Sequence[Any]]) -> list[JobRecord]:
        calls = [*calls]
        ids = new_ids(len(calls))
        return [self.prepare(args, {}, job_id) for args, job_id in zip(calls, ids, strict=True)]

    def prepare(self, args: Sequence[Any], kwargs: Mapping[str, Any], job_id: str | None = None) -> JobRecord:
        """The record of a job that calls this task; not stored yet."""
        limit = self.app.settings.max_payload
        if self.signature is not None:
            payload = self.signature.encode(args, kwargs, limit)
        else:
            value = signature.call(self.name, args, kwargs)
            payload = signature.encode(self.app.codec, self.name, value, limit)
        return msgspec.structs.replace(self._blank, id=job_id or new_id(), payload=payload)


def _blank(task: str, place: Placement) -> JobRecord:
    """What all jobs of a task have in common that go to one place."""
    record = JobRecord("", task, queue=place.queue, priority=place.priority, locator=FRESH)
    record.delay = place.delay
    record.key = place.idempotency_key
    record.options = place.options
    if place.run_after is not None:
        record.run_at = place.run_after.timestamp()
    if isinstance(place.expires, datetime):
        record.expires_at = place.expires.timestamp()
    else:
        record.expires_in = place.expires
    return record


class FunctionTask(Task[P, R]):
    """A task made of a plain function."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now."""
        assert self.function is not None
        result: R = self.function(*args, **kwargs)
        return result


class CoroutineTask(Task[P, R]):
    """A task made of a coroutine function."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """The function's coroutine, to be awaited here and now."""
        assert self.function is not None
        coroutine: Coroutine[Any, Any, R] = self.function(*args, **kwargs)
        return coroutine


_STORED = frozenset(Options.__struct_fields__)


def placed(base: Placement, task: str, given: dict[str, Any], allowed: Any) -> Placement:
    """`base` with the given options; those of `job.Options` are stored with the job. Raises `ConfigError`."""
    for name in given:
        if name not in allowed.__annotations__:
            raise ConfigError.unknown(f"option of task {task}", name, allowed.__annotations__)
    check_options(task, given)
    stored = {name: given.pop(name) for name in list(given) if name in _STORED}
    if stored:
        if "tags" in stored:
            stored["tags"] = tuple(stored["tags"])
        if "meta" in stored:
            stored["meta"] = dict(stored["meta"])
        given["options"] = msgspec.structs.replace(base.options, **stored)
    if "delay" in given or "run_after" in given:
        given = {"delay": None, "run_after": None, **given}
    return msgspec.structs.replace(base, **given) if given else base


def check_options(task: str, given: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for a value that no job could have."""
    for name, value in given.items():
        check = _CHECKS.get(name)
        if check is None or (value is None and name in _OPTIONAL):
            continue
        if not check.holds(value):
            raise ConfigError(f"task {task}: {name} {check.meaning}, not {value!r}")
    if "delay" in given and "run_after" in given:
        raise ConfigError(f"task {task}: give delay= or run_after=, not both")


class _Check(NamedTuple):
    holds: Callable[[Any], bool]
    meaning: str


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < math.inf


def _has_zone(value: Any) -> bool:
    return isinstance(value, datetime) and value.tzinfo is not None


def _is_json(value: Any) -> bool:
    try:
        return isinstance(value, Mapping) and bool(msgspec.json.encode(dict(value)))
    except (TypeError, ValueError, RecursionError):
        return False


def _are_texts(value: Any) -> bool:
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    return listed and all(each == "" or _is_text(each) for each in value)


def _is_text(value: Any) -> bool:
    """Text that any broker can store: half of a surrogate pair has no UTF-8 form."""
    return isinstance(value, str) and value != "" and not any("\ud800" <= each <= "\udfff" for each in value)


# What is stored and cannot be read again would stop every claim that meets it.
_TEXT = _Check(_is_text, "is a text, and not empty")
_SECONDS = _Check(_is_seconds, "is a number of seconds from 0 up")
_CHECKS = {
    "queue": _TEXT,
    "idempotency_key": _TEXT,
    "priority": _Check(
        lambda value: type(value) is int and -100 <= value <= 100,
        "is a whole number from -100 to 100, larger is sooner",
    ),
    "delay": _SECONDS,
    "timeout": _SECONDS,
    "result_ttl": _SECONDS,
    "run_after": _Check(_has_zone, "is a datetime with a time zone, as in datetime.now(UTC)"),
    "expires": _Check(
        lambda value: _is_seconds(value) or _has_zone(value),
        "is a number of seconds from 0 up, or a datetime with a time zone",
    ),
    "retry": _Check(lambda value: isinstance(value, Retry), "is a policy, as in Retry(max_attempts=3)"),
    "tags": _Check(_are_texts, "is a list of texts"),
    "meta": _Check(_is_json, "is a dict that JSON can hold"),
}
_OPTIONAL = frozenset(_CHECKS) - {"queue", "priority", "tags", "meta"}
