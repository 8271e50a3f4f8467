"""Numbers and times as people say them, and text that can be stored."""

from __future__ import annotations


def span(seconds: float) -> str:
    """A length of time in its largest unit, as in `350 ms`, `2.5 s`, `42 s`, `5 min`, `3 h`, `12 d`."""
    seconds = abs(seconds)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    for unit, length, limit in (("min", 60, 120), ("h", 3600, 48)):
        if seconds < limit * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def when(moment: float | None, now: float) -> str:
    """A moment as people say it, as in `12 s ago` or `in 5 min`; empty for none."""
    if moment is None:
        return ""
    if abs(moment - now) < 1:
        return "now"
    return f"{span(now - moment)} ago" if moment < now else f"in {span(moment - now)}"


def plural(count: int, one: str, many: str) -> str:
    """The number with its noun, as in `1 job`, `1,200 jobs`."""
    return f"{count:,} {one if count == 1 else many}"


def storable(text: str) -> str:
    """Text that any broker can keep: an exception may quote a file name that is no UTF-8, or a NUL."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
