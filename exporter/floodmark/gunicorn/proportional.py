"""Memory that is right under --preload: each shared page divided by those who share it, sampled slowly.

Resident memory counts a page that master and workers share once for each of them. The proportional one
costs the kernel milliseconds for each process: it's read beside the scrapes, one process a second.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from floodmark.sources.available import NO_PROPORTIONAL
from floodmark.sources.procfs import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from floodmark.gunicorn.model import AppState
    from floodmark.sources.available import Available
    from floodmark.sources.procfs.process import Identity

EACH = 60.0  # seconds between two readings of a process
PAUSE = 1.0  # seconds between two readings of any
STALE = 300.0  # seconds after which a reading says nothing any more


class Reading(NamedTuple):
    """Proportional memory in bytes, and how old the reading is, in seconds."""

    size: int
    age: float


class ProportionalMemory:
    """Keeps the last reading of each master and worker.

    Args:
        proc: the host's /proc.
        available: where a missing right is noted.
        clock: steady time in seconds.
    """

    def __init__(self, proc: Path, available: Available, clock: Callable[[], float] = time.monotonic) -> None:
        self._proc, self._available, self._clock = proc, available, clock
        # When each was read, and what: None where that failed.
        self._readings: dict[Identity, tuple[float, int | None]] = {}

    def of(self, identity: Identity) -> Reading | None:
        """Return the last reading of a process, None where there is none that still counts."""
        when, size = self._readings.get(identity, (0.0, None))
        age = self._clock() - when
        return None if size is None or age > STALE else Reading(size, age)

    def run(self, apps: Callable[[], Iterable[AppState]]) -> None:
        """Read for ever."""
        while True:
            time.sleep(PAUSE)
            self.read(apps(), most=1)

    def read(self, apps: Iterable[AppState], most: int | None = None) -> None:
        """Read the processes that are due, new ones and those that waited longest first.

        Args:
            apps: the apps there are; readings of other processes are dropped.
            most: how many to read, None for all that are due.
        """
        now = self._clock()
        owners = {identity: app.name for app in apps for identity in app.processes}
        never = float("-inf"), None
        last = {identity: self._readings.get(identity, never) for identity in owners}
        due = sorted((when, identity) for identity, (when, _) in last.items() if now - when >= EACH)
        for _, identity in due[:most]:
            last[identity] = now, self._size(identity, owners[identity])
        # Replaced as a whole: a scrape may be looking.
        self._readings = {identity: seen for identity, seen in last.items() if seen is not never}

    def _size(self, identity: Identity, app: str) -> int | None:
        try:
            size = process.proportional_memory(self._proc, identity.pid)
        except PermissionError:
            self._available.lacking(NO_PROPORTIONAL, "proportional_memory", app)
            return None
        except (OSError, ValueError):  # it ended, or has no memory any more
            return None
        self._available.good("proportional_memory", app)
        return size
