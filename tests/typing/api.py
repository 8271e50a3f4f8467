"""The public API as a type checker sees it; checked, never run (`test_typing.py`)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, assert_type

from backburner import Backburner, Retry
from backburner.events import Died
from backburner.job import Job
from backburner.lifecycle import State
from backburner.task import CoroutineTask, FunctionTask

app = Backburner("sqlite:///jobs.db")


@app.task
def make_thumbnails(photo_id: int, sizes: tuple[int, ...] = (64, 128)) -> list[str]:
    return [f"{photo_id}-{size}" for size in sizes]


@app.task(
    queue="mail", priority=10, retry=Retry(max_attempts=8, first=1, factor=4, on=(OSError,)), timeout=30
)
async def send_mail(user_id: int, *, subject: str = "") -> bool:
    return bool(subject and user_id)


@app.every(60)
@app.task(cpu=True)
def count_photos() -> int:
    return 0


@app.cron("0 3 * * *", tz="Europe/Berlin")
@app.task
async def clean_up() -> None: ...


@app.on(Died, task=send_mail)
def tell_somebody(event: Died) -> None: ...


# A task knows its function's signature.
assert_type(make_thumbnails(42), list[str])
assert_type(count_photos, FunctionTask[[], int])
assert_type(clean_up, CoroutineTask[[], None])

# The result's type flows into the job.
job = make_thumbnails.enqueue(42, sizes=(64,))
assert_type(job, Job[list[str]])
assert_type(job.result(timeout=10), list[str])
assert_type(job.refresh().result(), list[str])
assert_type(job.state, State)
assert_type(send_mail.enqueue(42, subject="Hello").result(), bool)
assert_type(count_photos.enqueue(), Job[int])
assert_type(make_thumbnails.enqueue_many([(1,), (2, (64,))]), list[Job[list[str]]])

# `using` changes neither.
later = make_thumbnails.using(delay=60, priority=5, idempotency_key="photo-42")
assert_type(later(42), list[str])
assert_type(later.enqueue(42), Job[list[str]])
assert_type(later.using(run_after=datetime.now(UTC)).enqueue(42).result(), list[str])
assert_type(send_mail.using(queue="night").enqueue(42, subject="Hello"), Job[bool])

# By name, and by id, nothing is known.
assert_type(app.enqueue("shop.tasks.send_mail", 42), Job[Any])
assert_type(app.job("0190").result(), Any)


async def without_blocking() -> None:
    assert_type(await make_thumbnails.aenqueue(42), Job[list[str]])
    assert_type(await job.aresult(timeout=10), list[str])
    assert_type(await send_mail(42), bool)
    assert_type(await send_mail.using(tags=["welcome"]).aenqueue(42), Job[bool])
    assert_type(await count_photos.aenqueue_many([(), ()]), list[Job[int]])
    assert_type(await app.aenqueue("shop.tasks.send_mail", 42), Job[Any])
    async with app.worker():
        assert_type(await (await clean_up.aenqueue()).aresult(), None)
