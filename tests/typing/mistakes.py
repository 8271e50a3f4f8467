"""Calls that a type checker must refuse; `test_typing.py` says that it flags these lines and no other."""

from __future__ import annotations

from backburner import Backburner, Retry
from tests.typing.api import app, job, make_thumbnails, send_mail

make_thumbnails("42")  # mistake
make_thumbnails.enqueue("42")  # mistake
make_thumbnails.enqueue()  # mistake
make_thumbnails.enqueue(42, size=64)  # mistake
make_thumbnails.using(delay=60).enqueue("42")  # mistake
make_thumbnails.using(delay="60")  # mistake
make_thumbnails.using(dealy=60)  # mistake
send_mail.enqueue(42, "Hello")  # mistake
send_mail.using(queue="night").using(priority=5).enqueue(42, subject=7)  # mistake

number: int = job.result()  # mistake
sent: str = send_mail.enqueue(42).result()  # mistake
app.enqueue(send_mail, 42)  # mistake
Retry(max_atempts=3)  # mistake


@app.task(priority="high")  # mistake
def one() -> None: ...


@app.task(retries=3)  # mistake
def two() -> None: ...


@app.cron("0 3 * * *", timezone="Europe/Berlin")  # mistake
@app.task
def three() -> None: ...


@app.every(60)  # mistake
def not_a_task() -> None: ...


async def without_blocking() -> None:
    await make_thumbnails.aenqueue("42")  # mistake
    await send_mail.using(delay=1).aenqueue("42")  # mistake
    text: str = await job.aresult()  # mistake
    answer: str = await send_mail(42)  # mistake
    print(text, answer)


print(Backburner("sqlite:///jobs.db"), number, sent)
