"""What a forked child has to begin anew: threads, locks and connections are its parent's."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forked(Protocol):
    """Something that a process has, and its forked child has to begin anew."""

    def after_fork(self) -> None:
        """In the child: forget what is the parent's, and close nothing of it."""


def begins_anew(each: Forked) -> None:
    """Call its `after_fork` in every forked child, as long as it lives."""
    _all.add(each)


_all: weakref.WeakSet[Forked] = weakref.WeakSet()


def _after_fork() -> None:
    for each in list(_all):
        each.after_fork()


os.register_at_fork(after_in_child=_after_fork)
