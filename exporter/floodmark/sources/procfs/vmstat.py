"""/proc/vmstat, proc(5).

pswpin 0
pswpout 0
pgmajfault 1327
oom_kill 0
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def parse(text: str) -> dict[str, int]:
    """Parse the file's text: counts since boot, some gauges among them, by the kernel's names.

    Raises:
        ValueError: not the format above.
    """
    try:
        values = {name: int(value) for name, value in map(str.split, text.splitlines())}
    except ValueError:
        raise ValueError(f"vmstat: lines of a name and a number expected, got {text[-80:]!r} last") from None
    if not values:
        raise ValueError("vmstat: lines of a name and a number expected, the file is empty")
    return values


def read(proc: Path) -> dict[str, int]:
    """Read it under a /proc folder."""
    return parse((proc / "vmstat").read_text())
