"""The settings of an app: one frozen, validated object."""

from __future__ import annotations

import math
import os
from typing import Any

import msgspec

from backburner.errors import ConfigError
from backburner.retry import Retry


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting with its default. Times in seconds, sizes in bytes."""

    url: str
    results: str | None = None
    """The URL of the broker that keeps the jobs, where `url` names one that only moves them."""
    retry: Retry = Retry()
    timeout: float | None = None
    """Time limit of an attempt; None sets none."""
    lease: float = 30.0
    """How long a machine may be silent before its jobs go to others."""
    heartbeat: float = 10.0
    max_payload: int = 64 * 1024
    warn_payload: int = 8 * 1024
    keep_finished: float = 24 * 3600.0
    """How long succeeded and cancelled jobs stay readable."""
    max_dead: int = 100_000
    """Dead jobs kept in a queue; at 80% of it `events.DeadNearLimit` is sent."""
    poison_after: int = 3
    """A job whose worker died that many times while it ran goes to the dead letters."""
    unknown_task_delay: float = 15.0
    """A job whose task this code does not know waits that long for code that does; after some rounds half of
    it to one and a half times.
    """

    def __post_init__(self) -> None:
        for name in ("lease", "heartbeat", "unknown_task_delay", "keep_finished"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name}= takes a number of seconds above 0, not {value!r}")
        if self.heartbeat > self.lease / 2:
            raise ConfigError(
                f"heartbeat={self.heartbeat:g} leaves no room for a lost beat within lease={self.lease:g}: "
                "give the lease at least twice the heartbeat"
            )
        if self.timeout is not None and not self.timeout > 0:
            raise ConfigError(f"timeout= takes a number of seconds above 0, not {self.timeout!r}")
        for name in ("max_payload", "max_dead", "poison_after"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}= takes a whole number from 1 up")

    @classmethod
    def build(cls, url: str | None, given: dict[str, Any]) -> Settings:
        """Settings from keyword arguments; the URL from BACKBURNER_URL when none is given.

        `results` that are not given are BACKBURNER_RESULTS where the broker only moves jobs (amqp): no other
        has any, and a look with `--url` at another must not fail for them. Empty text means none.
        """
        url = url or os.environ.get("BACKBURNER_URL")
        if not url:
            raise ConfigError(
                'no broker: pass a URL, as in Backburner("sqlite:///jobs.db"), or set BACKBURNER_URL'
            )
        results = given.get("results")
        if results is None and url.startswith(("amqp://", "amqps://")):
            results = os.environ.get("BACKBURNER_RESULTS")
        known = [field for field in cls.__struct_fields__ if field != "url"]
        for name in given:
            if name not in known:
                raise ConfigError.unknown("setting", name, known)
        try:
            every = {"url": url, **given, "results": results or None}
            return msgspec.convert(every, cls, from_attributes=False)
        except msgspec.ValidationError as error:
            raise ConfigError(f"a setting has the wrong type: {error}") from None
