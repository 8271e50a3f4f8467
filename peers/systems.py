"""Which libraries are compared, on which broker, and how their documentation says to run them."""

from __future__ import annotations

from typing import NamedTuple


class System(NamedTuple):
    """A library on a broker."""

    library: str
    broker: str
    """redis, rabbitmq, postgres or sqlite"""
    worker: tuple[str, ...]
    """The command of a worker, with its program's name first; it runs in the library's own environment."""
    before: tuple[str, ...] = ()
    """A command that makes the tables."""
    settings: str = "its defaults"
    """The settings that its documentation recommends against loss, or that make a run short."""
    patience: float = 60.0
    """Seconds without an effect after which what has not run counts as lost: more than its timeouts."""

    @property
    def name(self) -> str:
        return f"{self.library} on {self.broker}"

    @property
    def module(self) -> str:
        return f"peers.on_{self.library}"


CELERY = ("celery", "--app=peers.on_celery", "worker", "--concurrency=2", "--loglevel=WARNING")
CELERY_SAFE = "acks_late, reject_on_worker_lost, prefetch multiplier 1"
DRAMATIQ = ("dramatiq", "peers.on_dramatiq", "--processes=2", "--threads=1")
BACKBURNER = ("backburner", "worker", "peers.on_backburner:app", "--processes=2", "--threads=1")

SYSTEMS = (
    *(System("backburner", broker, BACKBURNER) for broker in ("sqlite", "redis", "postgres", "rabbitmq")),
    System(
        "celery",
        "redis",
        CELERY,
        settings=f"{CELERY_SAFE}, visibility timeout 10 s (its default is an hour)",
    ),
    System(
        "celery",
        "rabbitmq",
        CELERY,
        settings=f"{CELERY_SAFE}, quorum queues, confirms",
    ),
    System(
        "dramatiq",
        "redis",
        DRAMATIQ,
        settings="heartbeat timeout 10 s (its default is 60)",
    ),
    System("dramatiq", "rabbitmq", DRAMATIQ, settings="confirms (off by default)"),
    System(
        "rq",
        "redis",
        ("rq", "worker-pool", "default", "--num-workers=2", "--quiet"),
        settings="five retries",
        patience=180.0,
    ),
    System(
        "procrastinate",
        "postgres",
        ("procrastinate", "--app=peers.on_procrastinate.app", "worker", "--concurrency=2"),
        before=("procrastinate", "--app=peers.on_procrastinate.app", "schema", "--apply"),
        settings="five attempts, and its documentation's periodic task that retries stalled jobs, every 10 s",
        patience=90.0,
    ),
)
