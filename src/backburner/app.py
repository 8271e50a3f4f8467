"""The app: the registry of tasks, the settings, and the way into the broker."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, Unpack, overload

from backburner import brokers
from backburner.brokers.base import Bound, Capability, OnFull
from backburner.codec import Codec, Missing
from backburner.errors import ConfigError, JobNotFound, TaskNotFound
from backburner.events import Event, Events, Handler, JobEvent
from backburner.job import Job, JobRecord
from backburner.middleware import Middleware
from backburner.periodic import PeriodicOptions, scheduled, stored
from backburner.producer import Producer
from backburner.settings import Settings
from backburner.task import (
    CoroutineTask,
    FunctionTask,
    Kind,
    Placement,
    Task,
    TaskOptions,
    check_options,
    placed,
)

if TYPE_CHECKING:
    from backburner.brokers.base import Broker
    from backburner.inspector import Inspector
    from backburner.schedule import Schedule
    from backburner.worker.embedded import EmbeddedWorker

P = ParamSpec("P")
R = TypeVar("R")
E = TypeVar("E", bound=Event)
T = TypeVar("T", bound=Task[..., Any])


class TaskDecorator(Protocol):
    """`@app.task(...)`: keeps the function's signature for the type checker."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a coroutine function is both; the first one wins
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> CoroutineTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> FunctionTask[P, R]: ...


class Backburner:
    """A task queue.

    `url` names the broker, as in `sqlite:///jobs.db` (default: the environment's BACKBURNER_URL). `results`
    names another one that keeps jobs and results for RabbitMQ, which only moves them, as in
    `Backburner("amqp://localhost", results="redis://localhost")` (default, with amqp:// alone: the
    environment's BACKBURNER_RESULTS; `""` for none). Further keywords are the fields of `Settings`. Nothing
    is opened before it is used. Raises `ConfigError`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        results: str | None = None,
        middleware: Sequence[Middleware] = (),
        **settings: Any,
    ) -> None:
        self.settings = Settings.build(url, {"results": results, **settings})
        self.broker: Broker = brokers.connect(self.settings.url, self.settings.results)
        self.codec = Codec()
        self.events = Events()
        self.middleware = tuple(middleware)
        self.tasks: dict[str, Task[..., Any]] = {}
        self.bounds: dict[str, Bound] = {}
        self.declared: dict[str, Schedule] = {}
        """Periodic tasks declared in code; a worker stores them when it starts."""
        self.producer = Producer(self)

    def __repr__(self) -> str:
        results = self.settings.results
        beside = f" results={brokers.redacted(results)}" if results else ""
        return f"<Backburner {brokers.redacted(self.settings.url)}{beside}>"

    # Declaring ---------------------------------------------------------------------------------------

    @overload
    def task(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> CoroutineTask[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> FunctionTask[P, R]: ...
    @overload
    def task(self, /, **options: Unpack[TaskOptions]) -> TaskDecorator: ...
    def task(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Register a function as a task; takes the options of `TaskOptions`.

        Its name is `module.qualname` unless `name=` is given. Raises `ConfigError` for an unknown option
        and for a name that another function has.
        """
        if function is None:
            return lambda function: self._register(function, dict(options))
        return self._register(function, {})

    def queue(
        self, name: str, *, max_length: int, on_full: OnFull = "raise", timeout: float | None = None
    ) -> None:
        """Let at most `max_length` jobs wait in a queue.

        When it is full an enqueue raises `QueueFull`, blocks
        (up to `timeout` seconds, then raises), or drops the oldest waiting jobs (they end as cancelled).
        Raises `NotSupported` where the broker cannot bound a queue.
        """
        self.broker.require(Capability.BOUNDED)
        if max_length < 1:
            raise ConfigError(f"queue {name}: max_length takes a whole number from 1 up")
        if on_full not in ("raise", "block", "drop_oldest"):
            raise ConfigError.unknown(f"on_full of queue {name}", on_full, ("raise", "block", "drop_oldest"))
        keep = self.settings.keep_finished
        self.bounds[name] = Bound(
            queue=name, max_length=max_length, on_full=on_full, timeout=timeout, keep=keep
        )

    def reference(
        self,
        cls: type[Any],
        *,
        load: Callable[[Any], Any],
        dump: Callable[[Any], Any] = lambda value: value.id,
        missing: Missing = "dead",
    ) -> None:
        """Let objects of `cls` be arguments: stored as class and id, loaded fresh in the worker.

        `load` finds the object by what `dump` gave. When it returns None or raises `LookupError` the object
        is gone: the job is `dead`, or with `missing="cancel"` cancelled, or with "retry" tried again.
        """
        self.codec.refer(cls, dump=dump, load=load, missing=missing)

    def on(self, kind: type[E], *, task: Task[..., Any] | None = None) -> Callable[[Handler[E]], Handler[E]]:
        """Decorate a handler for events of `kind`, of one task only if given; see `backburner.events`."""

        def subscribe(handler: Handler[E]) -> Handler[E]:
            if task is None:
                return self.events.on(kind, handler)

            def filtered(event: E) -> None:
                if isinstance(event, JobEvent) and event.job.task == task.name:
                    handler(event)

            self.events.on(kind, filtered)
            return handler

        return subscribe

    def cron(self, expression: str, **options: Unpack[PeriodicOptions]) -> Callable[[T], T]:
        """Run the decorated task whenever the cron expression says, as in `@app.cron("0 3 * * *")`.

        Times are UTC unless `tz=` names a zone. Options: the fields of `Schedule`, and `args` for the task.
        Raises `NotSupported` for `overlap="skip"` where the broker cannot look up the previous job.
        """
        return lambda task: self._declare(task, {"cron": expression, **options})

    def every(self, seconds: float, **options: Unpack[PeriodicOptions]) -> Callable[[T], T]:
        """Run the decorated task every so many seconds."""
        return lambda task: self._declare(task, {"every": float(seconds), **options})

    def schedule(self, task: Task[..., Any], *, name: str, **options: Any) -> None:
        """Make or replace a periodic task at run time, by `cron=` or `every=` and their options."""
        schedule = scheduled(task, {"name": name, **options})
        self.broker.run(self.broker.save_schedule(stored(schedule, self.broker.now(), declared=False)))

    def unschedule(self, name: str) -> bool:
        """Delete a stored periodic task; False if there was none."""
        return self.broker.run(self.broker.delete_schedule(name))

    def _declare(self, task: T, options: Mapping[str, Any]) -> T:
        schedule = scheduled(task, options)
        if schedule.overlap == "skip":
            self.broker.require(Capability.LOOKUP)  # whether the job of the last fire has ended
        if schedule.name in self.declared:
            raise ConfigError(f"two schedules are named {schedule.name!r}: give one of them name=")
        self.declared[schedule.name] = schedule
        return task

    # Enqueueing and looking up -----------------------------------------------------------------------

    def named(self, name: str) -> Task[..., Any]:
        """The task of that name; also one that this process does not have, to be enqueued by name."""
        known = self.tasks.get(name)
        return known or Task(self, name, None, Kind.THREAD, Placement())

    def enqueue(self, name: str, *args: Any, **kwargs: Any) -> Job[Any]:
        """Enqueue a task by name, from a process that cannot import it."""
        return self.named(name).enqueue(*args, **kwargs)

    async def aenqueue(self, name: str, *args: Any, **kwargs: Any) -> Job[Any]:
        return await self.named(name).aenqueue(*args, **kwargs)

    def job(self, job_id: str) -> Job[Any]:
        """The job of that id. Raises `JobNotFound`."""
        return self._found(job_id, self.broker.run(self.broker.get([job_id])))

    async def ajob(self, job_id: str) -> Job[Any]:
        return self._found(job_id, await self.broker.arun(self.broker.get([job_id])))

    @cached_property
    def inspector(self) -> Inspector:
        """Counts, lookups and operator actions."""
        from backburner.inspector import Inspector

        queues = {task.placement.queue for task in self.tasks.values()} | {"default"}
        return Inspector(self.broker, self.settings, sorted(queues))

    def worker(self, **options: Any) -> AbstractAsyncContextManager[EmbeddedWorker]:
        """Run jobs inside this process's event loop, as in `async with app.worker():`.

        Takes the fields of `WorkerOptions`.
        """
        from backburner.worker.embedded import embedded

        return embedded(self, options)

    def close(self) -> None:
        """Let go of the broker's connections; using the app opens them again."""
        self.broker.close()

    def find_task(self, name: str) -> Task[..., Any]:
        """The registered task. Raises `TaskNotFound` with the nearest name."""
        if name not in self.tasks:
            raise TaskNotFound(str(ConfigError.unknown("task", name, self.tasks)))
        return self.tasks[name]

    # Registering -------------------------------------------------------------------------------------

    def _register(self, function: Callable[..., Any], options: dict[str, Any]) -> Task[..., Any]:
        name = options.pop("name", None) or task_name(function)
        if name in self.tasks:
            other = self.tasks[name].function
            raise ConfigError(
                f"two functions claim the task name {name!r}: {_where(other)} and {_where(function)}; "
                "give one of them name="
            )
        coroutine = inspect.iscoroutinefunction(function)
        cpu = options.pop("cpu", False)
        if cpu and coroutine:
            raise ConfigError(f"task {name}: cpu=True runs plain functions in a process; make it a `def`")
        kind = Kind.COROUTINE if coroutine else Kind.PROCESS if cpu else Kind.THREAD
        kept = ("retry", "timeout", "result_ttl")
        own: dict[str, Any] = {key: options.pop(key) for key in kept if key in options}
        check_options(name, own)
        placement = placed(Placement(), name, options, TaskOptions)
        cls = CoroutineTask if coroutine else FunctionTask
        task: Task[..., Any] = cls(self, name, function, kind, placement, **own)
        self.tasks[name] = task
        return task

    def _found(self, job_id: str, records: list[JobRecord]) -> Job[Any]:
        if not records:
            raise JobNotFound(
                f"no job {job_id}: the id is wrong, or it finished and its retention has passed",
                job_id=job_id,
            )
        return Job(self, records[0], self.returns(records[0].task))

    def returns(self, task: str) -> Any:
        """The type that a task returns, where its code is here."""
        known = self.tasks.get(task)
        return known.signature.returns if known and known.signature else Any


def task_name(function: Callable[..., Any]) -> str:
    """`module.qualname`; a script run as `__main__` gives the name by which a worker imports it."""
    module = function.__module__
    if module == "__main__":
        main = sys.modules["__main__"]
        spec = getattr(main, "__spec__", None)
        module = spec.name.removesuffix(".__main__") if spec else Path(getattr(main, "__file__", "main")).stem
    return f"{module}.{function.__qualname__}"


def _where(function: Callable[..., Any] | None) -> str:
    code = getattr(function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)
