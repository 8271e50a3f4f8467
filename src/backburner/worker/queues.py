"""Which queues a worker serves, and in which order it asks for their jobs."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backburner.app import Backburner


def queues_of(app: Backburner) -> dict[str, int]:
    """Every queue that the app's tasks and schedules name, without weights."""
    names = {task.placement.queue for task in app.tasks.values()}
    names |= {schedule.queue for schedule in app.declared.values()}
    return dict.fromkeys(sorted({"default", *names, *app.bounds}), 0)


def ordered(queues: dict[str, int]) -> tuple[str, ...]:
    """The queues in the order of one claim: as given, or drawn by weight, so that none starves."""
    if not any(queues.values()):
        return tuple(queues)
    # Efraimidis and Spirakis (2006): the largest u ** (1 / w) comes first with probability w / sum(w).
    return tuple(sorted(queues, key=lambda name: -(random.random() ** (1 / max(queues[name], 1e-9)))))
