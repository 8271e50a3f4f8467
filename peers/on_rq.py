"""RQ, with retries: without them a job whose worker dies is a failed one, and is not run again."""

from __future__ import annotations

from redis import Redis
from rq import Queue, Retry

from peers import effects

queue = Queue(connection=Redis.from_url(effects.URL))


def enqueue(number: int) -> None:
    queue.enqueue(effects.work, number, retry=Retry(max=5), result_ttl=0)
