"""/proc/meminfo, proc(5).

MemTotal:       24684084 kB
MemFree:        22968932 kB
MemAvailable:   24263080 kB
SwapTotal:             0 kB
HugePages_Total:       0
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_UNITS = {(): 1, ("kB",): 1024}


def parse(text: str) -> dict[str, int]:
    """Parse the file's text: by the kernel's names, in bytes; counts of huge pages as they are.

    Raises:
        ValueError: not the format above.
    """
    values: dict[str, int] = {}
    for line in text.splitlines():
        try:
            name, value, *unit = line.split()
            values[name.removesuffix(":")] = int(value) * _UNITS[tuple(unit)]
        except (ValueError, KeyError):
            raise ValueError(f"meminfo: a name, a number and kB expected, got {line!r}") from None
    if "MemTotal" not in values:
        raise ValueError("meminfo: a line MemTotal expected, it is missing")
    return values


def read(proc: Path) -> dict[str, int]:
    """Read it under a /proc folder."""
    return parse((proc / "meminfo").read_text())
