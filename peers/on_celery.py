"""Celery, with the settings by which its documentation keeps a task whose worker dies."""

from __future__ import annotations

from celery import Celery

from peers import effects

app = Celery("peers", broker=effects.URL)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
)
if effects.URL.startswith("redis"):
    app.conf.broker_transport_options = {"visibility_timeout": 10}
else:
    app.conf.task_default_queue_type = "quorum"
    app.conf.broker_transport_options = {"confirm_publish": True}


@app.task(name="work")  # type: ignore[untyped-decorator]  # without types
def work(number: int) -> None:
    effects.work(number)


def enqueue(number: int) -> None:
    work.delay(number)
