"""The claim loop of one worker process (or of an embedded worker).

1. One exchange with the broker settles what has finished and claims what there is room for. While it is in
   flight more attempts finish and gather in the buffer: the next exchange takes them all. No timers.
2. A claimed job starts when a slot of its kind is free; `appetite.py` says how many to claim. What does not
   get to start goes back (`HOLD`). A job that may be killing its workers starts when no other such job
   runs.
3. When an exchange brings nothing the loop listens for wake-ups, looks once more, and then waits for a
   wake-up or a finished attempt.
4. When the broker cannot be reached the buffer is kept, and the same exchange is tried again until it goes
   through (`exchanges.py`). What it then refuses (the lease was lost) is dropped, and said.
5. A settlement whose job another transaction has locked is sent again later, and nothing waits for it
   (`locked.py`).
6. A job that completed in a transaction of its own is settled as failed all the same: that is refused if
   the transaction was committed, and the truth if it was not.
7. Stopping: nothing more is claimed, and what has not started is released. What runs may end; a little
   before the grace time is over it is interrupted and released. The last settlements are flushed before the
   loop ends.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from backburner import ambient, lifecycle
from backburner.brokers.base import Capability, Claim, Exchange, Waiter
from backburner.context import CurrentJob, StopReason
from backburner.errors import NotCommitted
from backburner.events import LostLease, Started, UnknownTask
from backburner.job import FORMAT
from backburner.task import Kind
from backburner.worker import outcome
from backburner.worker.appetite import Appetite
from backburner.worker.coroutines import Coroutines
from backburner.worker.exchanges import Exchanges
from backburner.worker.executors import Executor, Run, Surrounded, ThreadCalls
from backburner.worker.locked import Locked
from backburner.worker.options import THREADS_AHEAD
from backburner.worker.processes import Processes
from backburner.worker.queues import ordered, queues_of
from backburner.worker.reports import Reports, claim_of, sorted_out
from backburner.worker.waits import first

if TYPE_CHECKING:
    from backburner.app import Backburner
    from backburner.job import JobRecord
    from backburner.lifecycle import Settlement
    from backburner.worker.blackbox import BlackBox
    from backburner.worker.options import WorkerOptions
    from backburner.worker.outcome import Verdict

IDLE_POLL = 5.0
"""Seconds after which an idle worker looks without having been woken."""
SECOND_LOOK = 0.1
"""The same after its first look in vain, where the broker cannot say whether anything is left."""
INTERRUPT_TIME = 2.0
"""Seconds at the end of the grace time for interrupted attempts to unwind (a fifth of a short one)."""
LOOK_PAST = 0.1
"""Seconds before it looks again past the jobs of a full kind, where it found none of another kind."""
LAST_WORDS = 3.0
"""Seconds after the grace time in which what is to be recorded last may get through."""
HOLD = 1.0
"""A job claimed and not started for so long goes back: this worker's jobs take longer than it thought."""


class Worker:
    """Claims and runs jobs of `app` as `worker_id`, whose lease somebody else keeps alive."""

    def __init__(
        self, app: Backburner, worker_id: str, options: WorkerOptions, blackbox: BlackBox | None = None
    ) -> None:
        self.app = app
        self.id = worker_id
        self.options = options
        self.queues = options.queues or queues_of(app)
        self.finished = 0
        """Attempts that ended here."""
        self.running: dict[str, Run] = {}
        loop = asyncio.get_running_loop()
        coroutines: Executor = Coroutines(app, loop)
        self._threads = ThreadCalls(app, loop, options.threads, blackbox)
        threads: Executor = self._threads
        processes: Executor = Processes(options.cpu_processes)
        if app.middleware:
            threads, processes = Surrounded(app, threads), Surrounded(app, processes)
        self._executors = {Kind.COROUTINE: coroutines, Kind.THREAD: threads, Kind.PROCESS: processes}
        slots = {
            Kind.COROUTINE: options.concurrency,
            Kind.THREAD: options.threads,
            Kind.PROCESS: options.cpu_processes,
        }
        kinds = {task.kind for task in app.tasks.values()} or {Kind.THREAD}
        self._slots = {kind: slots[kind] for kind in kinds}
        self._appetite = Appetite(self._slots)
        self._busy = dict.fromkeys(Kind, 0)  # a Counter would take a third of a microsecond to change
        self._unstarted: dict[Kind, deque[JobRecord]] = {kind: deque() for kind in kinds}
        self._blackbox = blackbox
        self._look_past_at = 0.0
        self._looked_ahead_at = 0.0
        self._tell_started = False
        self._ends: dict[Kind, int] = {}
        """Attempts that ended since the last exchange, and the seconds that they took in sum."""
        self._spent: dict[Kind, float] = {}
        self._suspects: deque[JobRecord] = deque()
        self._starting: set[Kind] = set()
        self._buffer: list[Settlement] = []
        self._changed = asyncio.Event()
        self._quiet = False
        self._stopping = False
        self._interrupt = asyncio.Event()
        self._exchanges = Exchanges(
            app, self._known, hopeless=lambda: self._stopping and self._interrupt.is_set()
        )
        self._reports = Reports(app.events, self._exchanges)
        self._locked = Locked(app.events, self._send)
        self._blind = Capability.LOOKUP not in app.broker.capabilities
        self._vain = 0
        """Looks for jobs that found none, since the last one that found or settled some."""
        self._listening = ExitStack()
        self._waiter: Waiter | None = None

    # What others ask of it ---------------------------------------------------------------------------

    @property
    def concurrency(self) -> int:
        """Attempts that can run at once here."""
        return sum(self._slots.values())

    @property
    def under_way(self) -> int:
        """Attempts that run here now."""
        return max(0, len(self.running) - self._ahead)

    @property
    def full(self) -> tuple[str, ...]:
        """The tasks that have no free slot here."""
        full = {kind for kind, slots in self._slots.items() if self._busy[kind] >= slots}
        return tuple(task.name for task in self.app.tasks.values() if task.kind in full) if full else ()

    @property
    def connected(self) -> bool:
        """False while the broker cannot be reached."""
        return self._exchanges.connected

    @property
    def idle(self) -> bool:
        """Nothing runs here or waits for a slot, and two looks in a row have found nothing more."""
        return self._vain > 1 and not self.running and self._all_settled()

    @property
    def quiet(self) -> bool:
        return self._quiet

    @quiet.setter
    def quiet(self, value: bool) -> None:
        self._quiet = value
        self._changed.set()

    def stop(self, grace: float) -> None:
        """Begin to stop; a second call shortens the grace time."""
        loop = asyncio.get_running_loop()
        unwind = min(INTERRUPT_TIME, grace / 5)
        loop.call_later(grace - unwind, self._stop_running, "shutdown")
        loop.call_later(grace, self._interrupt.set)
        loop.call_later(grace + LAST_WORDS, self._exchanges.give_up)
        self._stopping = True
        self._take_back()
        self._changed.set()

    def cancel(self, reasons: Mapping[str, str]) -> None:
        """Stop these jobs for good, where they run here or wait for a slot."""
        self._take_back()
        for job_id in reasons.keys() & self.running.keys():
            run = self.running[job_id]
            run.job.reason = reasons[job_id]
            self._stop_run(run, "cancelled")
        now, keep = self.app.broker.now(), self.app.settings.keep_finished
        for waiting in self._in_hand():
            for job in [job for job in waiting if job.id in reasons]:
                waiting.remove(job)
                self._send(lifecycle.cancelled(job, reasons[job.id], now, keep=keep))

    def lose(self, new_id: str) -> None:
        """The lease has gone to others: stop everything, and go on under a new id."""
        self.id = new_id
        self._take_back()
        self._buffer.clear()
        self._locked.give_up()
        self._reports.completions.clear()
        for waiting in self._in_hand():
            waiting.clear()
        for run in list(self.running.values()):
            self._lose(run)

    # The loop ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until told to stop."""
        try:
            while not (self._stopping and self._at_rest()):
                self._give_back()
                claim = self._claim()
                if claim is None and not self._buffer and not self._exchanges.doubtful():
                    # Jobs of a kind that is not full may come meanwhile, and nothing here would change.
                    soon = ambient.monotonic() < self._look_past_at + LOOK_PAST
                    await self._wait_for_change(LOOK_PAST if soon else IDLE_POLL)
                    continue
                settlements, self._buffer = self._buffer, []
                if settlements:
                    self._vain = 0  # they may bring more, even before their answer is here
                name = self.id
                exchange = await self._exchange(settlements, claim)
                await self._settled(settlements, exchange)
                if self.id == name:  # else they are rescued, and may come here again while they still ran
                    self._take(exchange.jobs)
                if exchange.jobs:
                    self._stop_listening()
                elif not self._buffer and claim is not None:
                    await self._idle()
                if not self._buffer:
                    await asyncio.sleep(0)  # attempts that end at once travel with the next exchange
        finally:
            # Cut off in the middle: what still runs here goes to others.
            for run in list(self.running.values()):
                self._abandon(run)
            self._stop_listening()
            self._exchanges.close()
            for executor in self._executors.values():
                await executor.close()

    def _at_rest(self) -> bool:
        if self._interrupt.is_set():
            for run in list(self.running.values()):
                # It was interrupted and has not ended: its job goes to others, and this process will end.
                reason = "interrupted: its worker stopped"
                self._buffer.append(lifecycle.released(run.job, self.app.broker.now(), reason))
                self._abandon(run)
            for job in self._locked.give_up():
                self.app.events.emit(LostLease(job=job))
        return not self.running and self._all_settled()

    def _all_settled(self) -> bool:
        return not (self._buffer or self._locked.ids or any(self._in_hand()))

    def _in_hand(self) -> Iterator[deque[JobRecord]]:
        """The queues of jobs that were claimed and have not started."""
        yield self._suspects
        yield from self._unstarted.values()

    def _claim(self) -> Claim | None:
        if self._quiet or self._stopping:
            return None
        limit, full = self._appetite.wanted(self._busy, {k: len(v) for k, v in self._unstarted.items()})
        if limit == 0:
            return None
        if full and ambient.monotonic() < self._look_past_at:
            return None
        exclude = tuple(task.name for task in self.app.tasks.values() if task.kind in full) if full else ()
        return Claim(
            worker=self.id,
            queues=ordered(self.queues),
            limit=limit,
            exclude=exclude,
            poison_after=self.app.settings.poison_after,
        )

    async def _exchange(self, settlements: list[Settlement], claim: Claim | None) -> Exchange:
        exchange = await self._exchanges.perform(self.id, settlements, claim)
        self._tell_started = self.app.events.wanted(Started)
        full = {self.app.tasks[name].kind for name in claim.exclude} if claim is not None else ()
        self._appetite.exchanged(self._exchanges.seconds, Counter(map(self._kind, exchange.jobs)), full)
        for kind, count in self._ends.items():
            self._appetite.ran(kind, self._spent[kind] / count)
        self._ends.clear()
        self._spent.clear()
        if claim is not None:
            self._vain = 0 if exchange.jobs or exchange.lost or settlements else self._vain + 1
            if claim.exclude and not exchange.jobs:
                self._look_past_at = ambient.monotonic() + LOOK_PAST
        return exchange

    def _known(self) -> set[str]:
        """The ids of the jobs that run here, wait for a slot, or have ended and are not settled."""
        waiting = (job.id for jobs in self._in_hand() for job in jobs)
        return {*self.running, *(each.job.id for each in self._buffer), *self._locked.ids, *waiting}

    async def _settled(self, settlements: list[Settlement], exchange: Exchange) -> None:
        answer = sorted_out(settlements, exchange)
        self._locked.answered(answer)
        await self._reports.send(answer)
        if exchange.lost:
            self._drop(set(exchange.lost) - {each.job.id for each in settlements})

    def _drop(self, ids: set[str]) -> None:
        """These jobs went to others while they were in hand here."""
        self._take_back()
        for waiting in self._in_hand():
            for job in [job for job in waiting if job.id in ids]:
                waiting.remove(job)
        for run in [self.running[job_id] for job_id in ids & self.running.keys()]:
            self._lose(run)

    async def _wait_for_change(self, timeout: float | None = None) -> None:
        self._changed.clear()
        if not self._buffer:
            waits = [asyncio.ensure_future(self._changed.wait())]
            if self._stopping:
                waits.append(asyncio.ensure_future(self._interrupt.wait()))
            await first(waits, HOLD if self._ahead or any(self._in_hand()) else timeout)

    async def _idle(self) -> None:
        """Nothing to claim: listen, look once more, then wait."""
        if self._waiter is None:
            topics = [f"queue:{queue}" for queue in self.queues]
            self._waiter = self._listening.enter_context(self.app.broker.waiter(topics))
            return
        self._changed.clear()
        if not self._buffer and not self._stopping:
            poll = SECOND_LOOK if self._blind and self._vain < 2 else IDLE_POLL
            longest = HOLD if self._ahead or any(self._in_hand()) else poll
            waits = [
                asyncio.ensure_future(self._waiter.wait_async(longest)),
                asyncio.ensure_future(self._changed.wait()),
            ]
            await first(waits, None)

    def _stop_listening(self) -> None:
        self._listening.close()
        self._waiter = None

    # Jobs in hand ------------------------------------------------------------------------------------

    def _take(self, jobs: Iterable[JobRecord]) -> None:
        now, settings = self.app.broker.now(), self.app.settings
        for job in jobs:
            task, refused = self.app.tasks.get(job.task), lifecycle.refused(job, settings, FORMAT, now)
            if refused is not None:
                self._send(refused)
            elif task is None:
                self.app.events.emit(UnknownTask(job=job))
                reason = f"no worker that claimed it has the code of task {job.task[:200]}"
                self._send(lifecycle.put_off(job, settings, now, reason))
            elif self._is_suspect(job):
                self._suspects.append(job)
            else:
                self._unstarted[task.kind].append(job)
        if not self._stopping:
            if self._suspects:
                self._start_suspect()
            for kind in self._unstarted:
                self._start_waiting(kind)

    def _send(self, settlement: Settlement) -> None:
        """With the next exchange."""
        self._buffer.append(settlement)
        self._changed.set()

    def _start_waiting(self, kind: Kind) -> None:
        waiting, room = self._unstarted[kind], self._slots[kind]
        if kind is Kind.THREAD and not (self.app.middleware or self._tell_started):
            room += THREADS_AHEAD
        self._starting.add(kind)  # while this goes on, an attempt that ends at once need not ask for it
        while waiting and self._busy[kind] < room:
            self._start(waiting.popleft())
        self._starting.discard(kind)

    def _start_soon(self, kind: Kind) -> None:
        if self._unstarted[kind] and kind not in self._starting and not self._stopping:
            self._starting.add(kind)
            asyncio.get_running_loop().call_soon(self._start_waiting, kind)

    @property
    def _ahead(self) -> int:
        """Functions that wait for a thread, in the pool."""
        return max(0, self._busy[Kind.THREAD] - self.options.threads)

    def _take_back(self) -> None:
        """What no thread has begun waits here again: something is to be decided about it."""
        if not self._ahead:
            return
        for run in reversed(self._threads.take_back()):
            run.disarm()
            self._busy[Kind.THREAD] -= 1
            if self._blackbox is not None:
                self._blackbox.end(run.slot)
            if not run.abandoned:
                del self.running[run.job.id]
                self._unstarted[Kind.THREAD].appendleft(run.job)
        self._start_soon(Kind.THREAD)

    def _is_suspect(self, job: JobRecord) -> bool:
        """One more crash makes it a poison pill: it runs while no other suspect does, lest the guilty one
        takes the innocent with it once more.
        """
        return job.crashes > 0 and job.crashes >= self.app.settings.poison_after - 1

    def _start_suspect(self) -> None:
        if self._suspects and not any(self._is_suspect(run.job) for run in self.running.values()):
            kind = self._kind(self._suspects[0])
            if self._busy[kind] < self._slots[kind]:
                self._start(self._suspects.popleft())

    def _start(self, job: JobRecord) -> None:
        earlier = self.running.get(job.id)
        if earlier is not None:  # of the two claims only the later one can hold
            if earlier.job.token > job.token:
                return
            self._lose(earlier)
        task = self.app.tasks[job.task]
        limit = job.options.timeout
        if limit is None:
            limit = task.timeout if task.timeout is not None else self.app.settings.timeout
        current = CurrentJob(self.app, job)
        run = Run(job, task, current, limit, self._ended, self._stop_run)
        ahead = self._busy[task.kind] >= self._slots[task.kind]
        if limit is not None:
            current.deadline = math.inf if ahead else ambient.monotonic() + limit
            run.arm(limit)
        self.running[job.id] = run
        self._busy[task.kind] += 1
        if self._tell_started:
            self.app.events.emit(Started(job=job))
        if self._blackbox is not None:
            run.slot = self._blackbox.reserve() if ahead else self._blackbox.start(job.id)
        self._executors[task.kind].start(run)

    def _ended(
        self, run: Run, value: bytes | None, error: BaseException | None, verdict: Verdict | None = None
    ) -> None:
        kind = run.task.kind
        if run.timer is not None:
            run.timer.cancel()
        self._busy[kind] -= 1
        self.finished += 1
        if self._blackbox is not None:
            self._blackbox.end(run.slot)
        self._spent[kind] = self._spent.get(kind, 0.0) + run.seconds
        self._ends[kind] = self._ends.get(kind, 0) + 1
        if not run.abandoned:
            del self.running[run.job.id]
            self._buffer.append(self._settlement(run, value, error, verdict))
        self._changed.set()
        if self._suspects and not self._stopping:
            asyncio.get_running_loop().call_soon(self._start_suspect)
        self._start_soon(kind)

    def _settlement(
        self, run: Run, value: bytes | None, error: BaseException | None, verdict: Verdict | None
    ) -> Settlement:
        if run.current.completion is not None:
            self._reports.completions[claim_of(run.job)] = run.current.completion
            if error is None and verdict is None:
                error = NotCommitted()
        if error is None and verdict is None:
            return run.current.succeeded(value)
        return outcome.failed(run, error, verdict, self.app.settings, self.app.broker.now())

    def _stop_run(self, run: Run, reason: StopReason) -> None:
        if run.current.stop_reason is None and run.job.id in self.running:
            run.current.ask_to_stop(reason)
            self._executors[run.task.kind].interrupt(run, reason)

    def _stop_running(self, reason: StopReason) -> None:
        for run in list(self.running.values()):
            self._stop_run(run, reason)

    def _lose(self, run: Run) -> None:
        self.app.events.emit(LostLease(job=run.job))
        self._abandon(run)

    def _abandon(self, run: Run) -> None:
        self._stop_run(run, "lost")
        run.abandoned = True
        self.running.pop(run.job.id, None)

    def _give_back(self) -> None:
        """Release what was claimed and cannot start: at once when stopping, else after a while."""
        now = self.app.broker.now()
        if self._stopping or now > self._looked_ahead_at + HOLD / 4:
            self._looked_ahead_at = now
            self._take_back()
        for waiting in self._in_hand():
            while waiting and (self._stopping or now - (waiting[0].started_at or now) > HOLD):
                job = waiting.popleft()
                # Or it would take them again at once: no attempt has ended to correct what it thought.
                self._appetite.ran(self._kind(job), HOLD)
                self._buffer.append(lifecycle.released(job, now))

    def _kind(self, job: JobRecord) -> Kind:
        task = self.app.tasks.get(job.task)
        return task.kind if task else Kind.THREAD
