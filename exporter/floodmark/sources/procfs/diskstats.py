"""/proc/diskstats, the kernel's Documentation/admin-guide/iostats.rst.

254       0 vda 130944 29478 4178298 15787 25452 29450 4131880 9285 0 12324 25697 8139 13 470880 506 3368 117
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

# "The standard UNIX 512-byte sectors, not any device- or filesystem-specific block size."
_SECTOR_BYTES = 512
_MILLISECONDS = 1000

# Two readers must not shorten each other's interval to nothing.
_SHORTEST_INTERVAL_SECONDS = 5.0


class Disk(NamedTuple):
    """Counters of one block device since boot; ``in_flight`` is now.

    ``weighted_seconds`` is the time of all requests added up: its growth per second is the average number
    of requests queued or in service. Kernels since 5.0 add a request's time when it completes, so that a
    disk that has stopped answering shows in ``in_flight`` first.
    """

    reads: int
    read_bytes: int
    read_seconds: float
    writes: int
    written_bytes: int
    write_seconds: float
    in_flight: int
    busy_seconds: float
    weighted_seconds: float


def parse(text: str) -> dict[str, Disk]:
    """Parse the file's text: every block device and partition by its name.

    Raises:
        ValueError: not the format above.
    """
    disks: dict[str, Disk] = {}
    for line in text.splitlines():
        try:
            _major, _minor, name, *numbers = line.split()
            # Merged requests are left out; what later kernels add (discards, flushes) comes after these.
            reads, _, read, read_ms, writes, _, written, write_ms, *rest = map(int, numbers)
            in_flight, busy_ms, all_ms, *_ = rest
        except ValueError:
            raise ValueError(f"diskstats: major, minor, name, 11 numbers expected, got {line!r}") from None
        disks[name] = Disk(
            reads,
            read * _SECTOR_BYTES,
            read_ms / _MILLISECONDS,
            writes,
            written * _SECTOR_BYTES,
            write_ms / _MILLISECONDS,
            in_flight,
            busy_ms / _MILLISECONDS,
            all_ms / _MILLISECONDS,
        )
    return disks


def read(proc: Path) -> dict[str, Disk]:
    """Read it under a /proc folder."""
    return parse((proc / "diskstats").read_text())


class QueueDepth:
    """The average queue of each disk between two readings that lie five seconds or more apart."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._taken: float | None = None
        self._weighted: dict[str, float] = {}
        self._depths: dict[str, float] = {}

    def depth(self, disks: Mapping[str, Disk]) -> dict[str, float]:
        """Take a reading, if it is time for one, and return the average number of requests by device.

        A device is missing while it has been seen once only, and while its counter has wrapped or begun
        anew: unknown is not zero.
        """
        with self._lock:
            now = self._clock()
            elapsed = None if self._taken is None else now - self._taken
            if elapsed is None or elapsed >= _SHORTEST_INTERVAL_SECONDS:
                weighted = {name: disk.weighted_seconds for name, disk in disks.items()}
                self._depths = {
                    name: grown / elapsed
                    for name, seconds in weighted.items()
                    if elapsed and (grown := seconds - self._weighted.get(name, float("inf"))) >= 0
                }
                self._taken, self._weighted = now, weighted
            return self._depths
