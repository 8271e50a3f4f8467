"""When a failed attempt is tried again, and when it is not. Pure.

1. `refusal` says why an error must not be retried: the attempts are used up, the error is of a class
   in `never` (or outside `on`), or the window `retry_for` has passed.
2. Otherwise `delay` says how long to wait: what the error asked for (`Retry.after`), else the delay
   of its class, else `first * factor ** (attempt - 1)`, at most `cap`; jitter spreads the crowd that
   failed together.

Classes are kept by name, so that a policy can travel with a job to a process that cannot import them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from backburner.errors import ConfigError

if TYPE_CHECKING:
    ErrorClass = type[BaseException] | str
else:
    ErrorClass = Any  # msgspec decodes names only; `__post_init__` turns classes into names


def class_name(cls: type[BaseException]) -> str:
    """`module.qualname` of an exception class; builtins without their module."""
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


class RetryAfter(Exception):
    """Raised by a task to be tried again after `seconds`; burns an attempt like any failure."""

    def __init__(self, seconds: float, reason: str = "") -> None:
        if not math.isfinite(seconds):
            raise ValueError(f"Retry.after(…) takes a number of seconds, not {seconds!r}")
        super().__init__(reason or f"the task asked to be tried again in {seconds:g} s")
        self.seconds = seconds


class Retry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A retry policy.

    Times are in seconds. `on` limits retries to these exception classes (empty: every `Exception`),
    `never` excludes some, `delays` gives a class its own delay; a class may be given as its dotted name.
    `retry_for` ends the retries that many seconds after the job was enqueued.
    """

    max_attempts: int = 5
    first: float = 1.0
    factor: float = 4.0
    cap: float = 3600.0
    jitter: float = 0.1
    """A delay is drawn from this fraction above and below its nominal length."""
    on: tuple[ErrorClass, ...] = ()
    never: tuple[ErrorClass, ...] = ()
    delays: dict[ErrorClass, float] = {}
    retry_for: float | None = None

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ConfigError("Retry(max_attempts=…) counts the first attempt too: give 1 or more")
        for field in ("first", "factor", "cap", "jitter"):
            value = getattr(self, field)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"Retry({field}=…) takes a number from 0 up, not {value!r}")
        if self.jitter > 1:
            raise ConfigError("Retry(jitter=…) is a fraction of the delay: give 0 to 1")
        for seconds in (*self.delays.values(), self.retry_for or 0.0):
            if not (math.isfinite(seconds) and seconds >= 0):
                raise ConfigError(f"Retry(delays=…, retry_for=…) take seconds from 0 up, not {seconds!r}")
        msgspec.structs.force_setattr(self, "on", tuple(map(_name, self.on)))
        msgspec.structs.force_setattr(self, "never", tuple(map(_name, self.never)))
        msgspec.structs.force_setattr(self, "delays", {_name(k): v for k, v in self.delays.items()})

    @staticmethod
    def after(seconds: float, reason: str = "") -> RetryAfter:
        """The exception to raise inside a task that wants to be tried again after `seconds`."""
        return RetryAfter(seconds, reason)

    def refusal(self, error: BaseException, attempt: int, age: float) -> str | None:
        """Why `error` in attempt number `attempt`, `age` seconds after the start, must not be retried."""
        names = _names(error)
        if names.intersection(map(str, self.never)):
            return f"not retryable: {class_name(type(error))}"
        if self.on and not isinstance(error, RetryAfter) and not names.intersection(map(str, self.on)):
            return f"not retryable: {class_name(type(error))}"
        if attempt >= self.max_attempts:
            return f"attempts used up ({attempt} of {self.max_attempts})"
        if self.retry_for is not None and age >= self.retry_for:
            return f"retry window of {self.retry_for:g} s has passed"
        return None

    def delay(self, error: BaseException, attempt: int, chance: float) -> float:
        """Seconds to wait after attempt number `attempt`; `chance` in [0, 1) places it in the jitter."""
        if isinstance(error, RetryAfter):
            return error.seconds
        try:
            nominal = self.first * self.factor ** (attempt - 1)
        except OverflowError:  # a job that has failed for months
            nominal = self.cap
        for cls in type(error).__mro__:
            own = self.delays.get(class_name(cls))
            if own is not None:
                nominal = own
                break
        return min(nominal, self.cap) * (1 + self.jitter * (2 * chance - 1))


def _name(cls: ErrorClass) -> str:
    if isinstance(cls, str):
        return cls
    given: object = cls  # whatever an untyped caller passes
    if isinstance(given, type) and issubclass(given, BaseException):
        return class_name(given)
    raise ConfigError(f"a retry policy takes exception classes or their dotted names, not {cls!r}")


def _names(error: BaseException) -> set[str]:
    return {class_name(cls) for cls in type(error).__mro__}
