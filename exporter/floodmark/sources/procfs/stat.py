"""/proc/stat, proc(5).

cpu  7187 0 3701 152505 834 0 79 14 0 0
cpu0 2240 0 1204 78712 23 0 12 5 0 0
cpu1 4946 0 2496 73792 811 0 66 9 0 0
intr 320615 0 0 0 (hundreds more)
ctxt 691438
btime 1795162399
processes 7842
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# USER_HZ, the unit of all times in there: fixed by the kernel's ABI, not its real tick.
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

# A CPU whose idle time falls by so much was unplugged and put back; node_exporter's number.
_REPLUGGED_SECONDS = 3.0


class CpuTimes(NamedTuple):
    """Seconds one CPU spent in each mode. Time given to virtual machines stands in user and nice."""

    user: float
    nice: float
    system: float
    idle: float
    iowait: float
    irq: float
    softirq: float
    steal: float


class Stat(NamedTuple):
    """Times of each CPU that is online, by its number; the Unix time the host booted."""

    cpus: dict[str, CpuTimes]
    boot_time: int


def parse(text: str) -> Stat:
    """Parse the file's text.

    Raises:
        ValueError: not the format above.
    """
    cpus: dict[str, CpuTimes] = {}
    boot_time: int | None = None
    for line in text.splitlines():
        try:
            # The line of the sum starts with "cpu" and a space.
            if line.startswith("cpu") and line[3:4].isdigit():
                name, *ticks = line.split()
                times = [int(tick) / _TICKS_PER_SECOND for tick in ticks[: len(CpuTimes._fields)]]
                cpus[name[3:]] = CpuTimes(*times)
            elif line.startswith("btime "):
                boot_time = int(line[6:])
        except (ValueError, TypeError):
            raise ValueError(f"stat: cpuN and 8 numbers, or btime and one, expected, got {line!r}") from None
    if not cpus or boot_time is None:
        raise ValueError("stat: a line cpu0 and a line btime expected, one is missing")
    return Stat(cpus, boot_time)


def read(proc: Path) -> Stat:
    """Read it under a /proc folder."""
    return parse((proc / "stat").read_text())


class Ratchet:
    """Keeps CPU times from running backwards.

    The kernel lets idle and iowait fall by some ticks. Prometheus would take that for a restart and count
    all of the value again: hours of idle time within one scrape.
    """

    def __init__(self) -> None:
        self._held: dict[str, CpuTimes] = {}
        self._lock = threading.Lock()

    def hold(self, cpus: Mapping[str, CpuTimes]) -> dict[str, CpuTimes]:
        """Return the highest times seen so far of these CPUs; one that went offline is forgotten."""
        with self._lock:
            self._held = {cpu: _forward(self._held.get(cpu, now), now) for cpu, now in cpus.items()}
            return self._held


def _forward(before: CpuTimes, now: CpuTimes) -> CpuTimes:
    if before.idle - now.idle >= _REPLUGGED_SECONDS:
        return now
    return CpuTimes(*map(max, before, now))
