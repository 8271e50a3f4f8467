"""What an operation of the Redis broker yields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Do(NamedTuple):
    """Run a named script, atomically; the reply is the server's, with bytes for text."""

    name: str
    given: Any = ()
    blobs: Sequence[bytes] = ()
    """Bytes that travel as they are; `given` names them by their numbers, from 1 on."""
    again: bool = True
    """Whether it may be sent again when its answer was lost: the second one would say the same."""
