"""Why a job does not run, or ended as it did: every reason, in the words that a person reads."""

from __future__ import annotations

from typing import Any

import pytest

from backburner import Retry, State
from backburner.brokers.base import Beat, QueueInfo, StoredSchedule, WorkerInfo
from backburner.explain import Facts, Reason, reasons
from backburner.job import JobRecord, Options
from backburner.lifecycle import Attempt
from backburner.schedule import Schedule

NOW = 1_800_000_000.0  # 2027-01-15 08:00:00Z
START = "start one: backburner worker MODULE:APP --queues mail"
AT_16 = "at 2027-01-15 08:00:16Z"
BACK = "so the job goes back to its queue"
RETRY_OR_DROP = "then `backburner dead retry 0194`; or drop it with `backburner dead delete 0194`"
CANCEL = "stop it with `backburner jobs cancel 0194`"
FREE = [
    Reason(
        "it is the first in line and a worker has room: it is about to start",
        "if it still says so in a few seconds, look at the machine with `backburner doctor`",
    )
]
OPTIONS = Options(retry=Retry(max_attempts=8))


def job(state: State = State.QUEUED, **fields: Any) -> JobRecord:
    return JobRecord(
        **{"id": "0194", "task": "shop.send", "queue": "mail", "state": state, "run_at": NOW - 60, **fields}
    )


def worker(name: str = "w1", *, seen: float = 1, lease: float = 30, **beat: Any) -> WorkerInfo:
    """One that serves the queue, has the code, and has 7 of 8 slots free; `seen` seconds ago."""
    given = {"host": "web-1", "pid": 4321, "queues": ("mail",), "tasks": ("shop.send",), "running": 1}
    return WorkerInfo(
        id=name,
        beat=Beat(**{"worker": name, "lease": lease, "concurrency": 8, **given, **beat}),
        started_at=NOW - 600,
        seen_at=NOW - seen,
        lease_until=NOW - seen + lease,
    )


def failed(attempt: int = 1, outcome: str = "retry", **fields: Any) -> Attempt:
    given = {"error": "builtins.OSError", "message": "disk full"}
    return Attempt(
        **{"attempt": attempt, "token": attempt, "worker": "w1", "outcome": outcome, **given, **fields},
        started_at=NOW - 10,
        ended_at=NOW - 5,
    )


def explained(record: JobRecord, *workers: WorkerInfo, **facts: Any) -> list[Reason]:
    return reasons(record, Facts(now=NOW, workers=workers, **facts))


def texts(record: JobRecord, *workers: WorkerInfo, **facts: Any) -> list[str]:
    return [reason.text for reason in explained(record, *workers, **facts)]


@pytest.mark.parametrize("state", State)
def test_every_state_has_a_reason(state: State) -> None:
    assert texts(job(state))


# Queued -------------------------------------------------------------------------------------------


def test_about_to_start() -> None:
    assert explained(job(), worker()) == FREE


def test_other_jobs_are_ahead() -> None:
    waits = "workers take jobs from this queue; it waits for its turn"
    assert texts(job(), worker(), ahead=1) == [waits, "1 job is ahead of it"]
    assert texts(job(), worker(), ahead=1200) == [waits, "1,200 jobs are ahead of it"]
    assert texts(job(), worker(), ahead=10_000) == [waits, "at least 10,000 jobs are ahead of it"]


def test_the_queue_is_paused() -> None:
    queue = QueueInfo(name="mail", counts={"queued": 1}, paused=True)
    assert explained(job(), worker(), queue=queue) == [
        Reason("queue 'mail' is paused", "backburner queues resume mail")
    ]


def test_no_worker_was_ever_there() -> None:
    assert explained(job()) == [Reason("no worker is alive", START)]


def test_the_last_worker_has_gone() -> None:
    gone = [worker("w1", seen=7200, pid=1), worker("w2", seen=300, pid=2)]
    assert texts(job(), *gone) == ["no worker is alive; the last one, web-1:2, was seen 5 min ago"]
    assert texts(job(), worker(seen=300, host="")) == [
        "no worker is alive; the last one, worker w1, was seen 5 min ago"
    ]


def test_no_worker_serves_the_queue() -> None:
    others = [worker("w1", queues=("images", "default")), worker("w2", queues=("images",))]
    assert explained(job(), *others) == [
        Reason("no live worker serves queue 'mail' (2 workers serve: default, images)", START)
    ]
    crowd = worker(queues=tuple(f"q{number}" for number in range(8)))
    assert texts(job(), crowd) == [
        "no live worker serves queue 'mail' (1 worker serves: q0, q1, q2, q3, q4, and 3 more)"
    ]
    silent = worker("w2", seen=300)
    assert "serves queue 'mail'" in texts(job(), worker(queues=("images",)), silent)[0], "it counts no more"


def test_no_worker_has_the_code() -> None:
    other = worker(tasks=("shop.resize",))
    elsewhere = worker("w2", queues=("images",))
    assert explained(job(), other, elsewhere) == [
        Reason(
            "no live worker of queue 'mail' has the task shop.send (1 worker knows: shop.resize)",
            "deploy the code that declares it, and see that the app's module imports it",
        )
    ]
    assert "(1 worker knows: none)" in texts(job(), worker(tasks=()))[0]


def test_the_workers_are_stopping() -> None:
    quiet = worker(quiet=True)
    assert explained(job(), quiet, worker("w2", queues=("images",))) == [
        Reason("every worker that could take it takes no more jobs: they are stopping", START)
    ]
    assert explained(job(), quiet, worker("w2")) == FREE


def test_all_slots_are_busy() -> None:
    busy: dict[str, Any] = {"running": 4, "concurrency": 4, "full": ("shop.send",)}
    full = [worker("w1", **busy), worker("w2", **busy)]
    [reason] = explained(job(), *full)
    assert reason.text == "workers are there, but none has a free slot for it"
    assert reason.next_step is not None
    assert reason.next_step.startswith("wait, start more workers")
    assert texts(job(), *full, ahead=3)[1] == "3 jobs are ahead of it"
    assert explained(job(), *full, worker("w3")) == FREE


def test_the_slots_for_its_kind_are_busy_and_others_are_free() -> None:
    [text] = texts(job(), worker(running=2, concurrency=108, full=("shop.send",)))
    assert text == (
        "workers are there, but none has a free slot for it; 106 slots for other kinds of tasks are free"
    )


def test_several_reasons_at_once() -> None:
    queue = QueueInfo(name="mail", counts={}, paused=True)
    assert texts(job(), queue=queue, ahead=2) == [
        "queue 'mail' is paused",
        "no worker is alive",
        "2 jobs are ahead of it",
    ]


def test_what_happened_before_it_was_queued_again() -> None:
    found = texts(job(crashes=2), worker(), history=[failed(1), failed(1, "crash", error=None)])
    assert found[1:] == [
        "its worker died 2 times while it ran, which does not count as an attempt",
        "before, attempt 1 failed with builtins.OSError: disk full",
    ]


def test_it_expires() -> None:
    soon = texts(job(expires_at=NOW + 30), worker())
    assert soon[1:] == ["it expires in 30 s: not started by then, it will be cancelled"]
    gone = texts(job(expires_at=NOW - 30), worker())
    assert gone[1:] == ["it expired 30 s ago: a worker will cancel it instead of running it"]


# Later --------------------------------------------------------------------------------------------


def test_it_was_enqueued_for_later() -> None:
    found = job(State.SCHEDULED, run_at=NOW + 3600)
    assert texts(found, worker()) == ["due in 60 min, at 2027-01-15 09:00:00Z", "it was enqueued for later"]


def test_it_put_itself_off() -> None:
    found = job(State.SCHEDULED, run_at=NOW + 300, token=1, reason="the bank is closed")
    assert texts(found, worker())[1:] == ["it was put off: the bank is closed"]
    found.reason = None
    assert len(texts(found, worker())) == 1, "it gave no reason"


def test_what_a_job_will_meet_when_it_is_due() -> None:
    found = job(State.SCHEDULED, run_at=NOW + 3600, expires_at=NOW + 60)
    queue = QueueInfo(name="mail", counts={}, paused=True)
    *_, paused, nobody, expires = explained(found, queue=queue)
    assert paused == Reason(
        "as things are, it will not start then: queue 'mail' is paused", "backburner queues resume mail"
    )
    assert nobody == Reason("as things are, it will not start then: no worker is alive", START)
    assert expires.text == "it expires in 60 s, which is before it is due: it will be cancelled"


def test_it_is_due_and_nobody_has_looked_yet() -> None:
    found = job(State.SCHEDULED, run_at=NOW - 5)
    assert texts(found, worker())[0] == "due since 5.0 s; the next worker that looks will queue it"


def test_it_waits_for_its_next_attempt() -> None:
    found = job(State.RETRYING, run_at=NOW + 16, attempt=2, token=2, options=OPTIONS)
    assert texts(found, worker(), history=[failed(1, message="no route"), failed(2)]) == [
        f"attempt 3 of 8 is due in 16 s, {AT_16} (attempt 2 of 8 failed with builtins.OSError: disk full)"
    ]


def test_of_how_many_attempts_is_said_only_where_it_is_known() -> None:
    found = job(State.RETRYING, run_at=NOW + 16, attempt=2, token=2)
    assert texts(found, worker())[0].startswith(f"attempt 3 is due in 16 s, {AT_16}")


def test_it_waits_for_other_jobs() -> None:
    [reason] = explained(job(State.BLOCKED))
    assert reason.text == "it waits for other jobs to finish"
    assert reason.next_step == (
        "explain the jobs that it depends on, or give it up with `backburner jobs cancel 0194`"
    )


# Running ------------------------------------------------------------------------------------------


def running(**fields: Any) -> JobRecord:
    given = {"worker": "w1", "started_at": NOW - 90, "attempt": 1, "token": 1}
    return job(State.RUNNING, **{**given, **fields})


def test_it_runs_and_where() -> None:
    assert explained(running(), worker("w0", pid=1), worker()) == [
        Reason("running on web-1:4321 since 90 s, attempt 1", CANCEL)
    ]
    assert texts(running(options=OPTIONS), worker())[0].endswith("attempt 1 of 8")


def test_it_was_asked_to_stop() -> None:
    [reason] = explained(running(cancel_requested=True), worker())
    assert reason.text == "running on web-1:4321 since 90 s, attempt 1; was asked to stop"
    assert reason.next_step is not None
    assert reason.next_step.startswith("wait for it")


def test_its_worker_is_silent_or_gone() -> None:
    silent = explained(running(), worker(seen=40))
    assert silent[0].text == (
        f"running on web-1:4321 since 90 s, attempt 1; but that worker is silent for 40 s, {BACK}"
    )
    assert silent[1] == Reason("no other worker is alive to see to that", START)
    assert texts(running(), worker("w2")) == [
        f"running on worker w1 since 90 s, attempt 1; but that worker is gone, {BACK}"
    ], "another worker will see to it"


def test_its_time_limit() -> None:
    found = running(options=Options(timeout=120))
    assert texts(found, worker())[1] == "its time limit is 2 min: 30 s left"
    found.started_at = NOW - 125
    assert texts(found, worker())[1] == "its time limit is 2 min: passed 5.0 s ago"


def test_its_progress_and_its_past() -> None:
    found = running(progress=b'{"done":5}', attempt=2, crashes=1)
    assert texts(found, worker(), history=[failed(1)])[1:] == [
        'it last reported {"done":5}',
        "its worker died 1 time while it ran, which does not count as an attempt",
        "before, attempt 1 failed with builtins.OSError: disk full",
    ]


# Final --------------------------------------------------------------------------------------------


def test_it_succeeded() -> None:
    found = job(State.SUCCEEDED, attempt=2, started_at=NOW - 63, finished_at=NOW - 60, result=b"1")
    assert explained(found, history=[failed(1)]) == [
        Reason(
            "attempt 2 succeeded after 3.0 s, at 2027-01-15 07:59:00Z",
            "see its result with `backburner jobs show 0194`",
        )
    ]
    found.result = None
    assert explained(found)[0].next_step is None


def test_it_is_dead_and_of_what() -> None:
    found = job(State.DEAD, attempt=8, finished_at=NOW - 60, reason="all 8 attempts failed", options=OPTIONS)
    assert explained(found, history=[failed(7, message="no route"), failed(8, "die")]) == [
        Reason(
            "dead since 2027-01-15 07:59:00Z: all 8 attempts failed",
            f"mend the cause, {RETRY_OR_DROP}",
        ),
        Reason(
            "at last, attempt 8 of 8 failed with builtins.OSError: disk full",
            "see the traceback with `backburner dead show 0194`",
        ),
    ]


def test_it_is_a_poison_pill() -> None:
    found = job(State.DEAD, crashes=3, finished_at=NOW, reason="poison pill: its worker died 3 times")
    history = [failed(1, "crash", error=None), failed(1, "poison", error=None)]
    [reason] = explained(found, history=history)
    assert reason.next_step == f"look for what kills it (memory, a crash in C code), {RETRY_OR_DROP}"


def test_it_was_cancelled() -> None:
    found = job(State.CANCELLED, finished_at=NOW - 60, reason="its time was over")
    assert explained(found) == [
        Reason(
            "cancelled at 2027-01-15 07:59:00Z: its time was over",
            "run it all the same with `backburner dead retry 0194`",
        ),
        Reason("it had never started"),
    ]
    found.started_at = NOW - 70
    assert len(explained(found)) == 1


# Around it ----------------------------------------------------------------------------------------


def test_it_is_the_fire_of_a_schedule() -> None:
    schedule = Schedule(name="nightly", task="shop.send", every=60)
    stored = StoredSchedule(schedule=schedule, next_at=NOW + 60, last_job="0194")
    assert texts(job(), worker(), schedule=stored)[-1] == "it is the last fire of schedule 'nightly'"
    stored.schedule = Schedule(name="nightly", task="shop.send", every=60, overlap="skip")
    waits = "it is the last fire of schedule 'nightly', which does not fire again before this job is final"
    assert texts(job(), worker(), schedule=stored)[-1] == waits
    assert texts(job(State.DEAD), schedule=stored)[-1] == "it is the last fire of schedule 'nightly'"


def test_what_others_have_written_is_kept_short_and_on_one_line() -> None:
    found = job(State.DEAD, attempt=1, finished_at=NOW, reason="x")
    said = texts(found, history=[failed(1, "die", message="one\ntwo  three " + "x" * 500)])[1]
    assert said.startswith("at last, attempt 1 failed with builtins.OSError: one two three xxx")
    assert said.endswith("x…")
    assert len(said) < 260
