"""Every error of Backburner, as a tree by what the reader has to do.

The docstring of a class is the first sentence of its message when no other is given.
"""

from __future__ import annotations

from collections.abc import Iterable


class BackburnerError(Exception):
    """Something in Backburner went wrong."""

    exit_code = 1
    """Of a command that it ends: 2 for wrong usage or configuration, 1 for what failed or is not there."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip().splitlines()[0])


# Change the code or the settings ------------------------------------------------------------------


class ConfigError(BackburnerError):
    """A setting, an option or a declaration is wrong: correct it and start again."""

    exit_code = 2

    @classmethod
    def unknown(cls, kind: str, name: str, known: Iterable[str]) -> ConfigError:
        """An error for a misspelt name, with the nearest known one."""
        import difflib  # a fifth of a megabyte, for who has misspelt something

        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"
        return cls(f"unknown {kind} {name!r}; {hint}")


class MissingDependency(ConfigError):
    """An optional package is needed: install the extra that the message names."""


class TaskNotFound(ConfigError):
    """No task of that name is registered with this app: import the module that declares it."""


class CodecError(BackburnerError):
    """A value cannot be turned into bytes, or bytes do not fit the task's signature."""

    exit_code = 2


class PayloadTooLarge(CodecError):
    """The arguments are too large to store: pass an id and load it inside the task."""


# Slow down, or answer 429 -------------------------------------------------------------------------


class QueueFull(BackburnerError):
    """The queue is at its limit: try again later."""

    def __init__(self, queue: str, depth: int, max_length: int, retry_after: float) -> None:
        super().__init__(
            f"queue {queue!r} holds {depth} jobs and takes {max_length} at most; "
            f"try again in {retry_after:.0f} s, or add workers"
        )
        self.queue = queue
        self.depth = depth
        self.max_length = max_length
        self.retry_after = retry_after
        """Seconds until there is probably room, estimated from the rate at which the queue drains."""


# Look after the broker ----------------------------------------------------------------------------


class BrokerError(BackburnerError):
    """The broker refused a request."""


class BrokerUnavailable(BrokerError):
    """The broker cannot be reached or is too busy; the same call may succeed later."""


class SchemaError(BrokerError):
    """What the broker stores does not match this version: run `backburner migrate`, or upgrade."""


class NotSupported(BrokerError):
    """This broker cannot do that."""

    exit_code = 2


class LeaseLost(BrokerError):
    """This attempt no longer owns its job: stop, its result will not be accepted."""


class NotCommitted(BackburnerError):
    """The task returned, but the transaction in which it completed was not committed: commit it first."""


# Look at the job ----------------------------------------------------------------------------------


class JobError(BackburnerError):
    """A job did not give a result."""

    def __init__(self, message: str | None = None, *, job_id: str = "") -> None:
        super().__init__(message)
        self.job_id = job_id


class JobFailed(JobError):
    """The job is dead; `error` names the exception and `traceback` is where it was raised."""

    def __init__(self, job_id: str, reason: str, error: str | None, traceback: str | None) -> None:
        text = f"job {job_id} is dead ({reason})"
        if traceback:
            text += f"; in the worker:\n\n{traceback.rstrip()}"
        super().__init__(text, job_id=job_id)
        self.reason = reason
        self.error = error
        self.traceback = traceback


class JobCancelled(JobError):
    """The job was cancelled and will not run."""


class ResultTimeout(JobError):
    """The job is not finished yet; it goes on all the same."""


class JobNotFound(JobError):
    """No such job: the id is wrong, or the job finished and its retention has passed."""
