"""An event loop in a thread of its own: it answers heartbeats and hears deliveries whatever the program does.

So no connection is bound to an event loop of the caller's, and a caller without one is served the same way.
A forked child starts a thread of its own; the parent's connections are left alone there.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from backburner.brokers.forks import begins_anew

T = TypeVar("T")


class Background:
    """Runs coroutines in its thread, which the first one starts. A forked child has `forked` called."""

    def __init__(self, forked: Callable[[], None]) -> None:
        self._forked = forked
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[Any] | None] = set()
        begins_anew(self)

    @property
    def started(self) -> bool:
        return self._loop is not None

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin at once; the future may be waited for by any thread, and is not to be cancelled."""
        return self.call(lambda told: asyncio.ensure_future(self._into(told, coroutine)))

    def call(self, begin: Callable[[Future[T]], object]) -> Future[T]:
        """The same for a plain function, which is given the future, and sees to it that it ends."""
        with self._lock:
            if self._loop is None:
                # pika watches sockets with add_reader, which only this kind of loop has on every system.
                self._loop = asyncio.SelectorEventLoop()
                self._thread = threading.Thread(
                    target=self._run, args=(self._loop,), name="backburner-rabbitmq", daemon=True
                )
                self._thread.start()
            future = Future[T]()
            self._loop.call_soon_threadsafe(begin, future)
            return future

    async def _into(self, future: Future[T], coroutine: Coroutine[Any, Any, T]) -> None:
        """Give the end at once to whoever waits for it: asyncio's own way takes one more turn of the loop."""
        task = asyncio.current_task()
        self._tasks.add(task)  # an event loop forgets tasks that nobody holds
        try:
            result = await coroutine
        except asyncio.CancelledError:
            future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - it goes to whoever waits
            future.set_exception(error)
        else:
            future.set_result(result)
        finally:
            self._tasks.discard(task)

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """End the thread, after this; with the next `submit` there is another one."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            last.close()
            return
        asyncio.run_coroutine_threadsafe(last, loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._loop = self._thread = None
        self._forked()

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(_last_turns(left))


async def _last_turns(left: Collection[asyncio.Task[Any]]) -> None:
    """Let what was called off end, and its sockets be closed, which pika does a few turns later."""
    await asyncio.gather(*left, return_exceptions=True)
    for _ in range(10):
        await asyncio.sleep(0)
