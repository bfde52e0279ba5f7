"""/proc/loadavg, proc(5).

0.20 0.18 0.12 1/80 11206
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path


class LoadAverage(NamedTuple):
    """Average number of runnable and uninterruptible tasks over 1, 5 and 15 minutes."""

    one: float
    five: float
    fifteen: float


def parse(text: str) -> LoadAverage:
    """Parse the file's text.

    Raises:
        ValueError: not the format above.
    """
    fields = text.split()
    if len(fields) < 3:  # noqa: PLR2004 - the three averages
        raise ValueError(f"loadavg: three numbers expected, got {text!r}")
    return LoadAverage(float(fields[0]), float(fields[1]), float(fields[2]))


def read(proc: Path) -> LoadAverage:
    """Read it under a /proc folder."""
    return parse((proc / "loadavg").read_text())
