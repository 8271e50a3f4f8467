"""Backburner: a task queue for Python. It never loses a job, and it always explains itself."""

from backburner import events
from backburner.app import Backburner
from backburner.context import current_job
from backburner.control import Cancel, Dead, Snooze
from backburner.errors import (
    BackburnerError,
    BrokerUnavailable,
    ConfigError,
    JobCancelled,
    JobFailed,
    JobNotFound,
    QueueFull,
    ResultTimeout,
)
from backburner.job import Job
from backburner.lifecycle import State
from backburner.middleware import Middleware
from backburner.retry import Retry
from backburner.task import Task

__all__ = [
    "Backburner",
    "BackburnerError",
    "BrokerUnavailable",
    "Cancel",
    "ConfigError",
    "Dead",
    "Job",
    "JobCancelled",
    "JobFailed",
    "JobNotFound",
    "Middleware",
    "QueueFull",
    "ResultTimeout",
    "Retry",
    "Snooze",
    "State",
    "Task",
    "current_job",
    "events",
]
