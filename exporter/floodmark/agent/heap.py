"""Python's garbage collector and heap, as JVM tools tell theirs: pauses, and what is left after a collection.

The collector calls back before and after each run (gc.callbacks), never twice at a time: the rows here have
one writer and need no lock, which a callback in the middle of anything could not wait for.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

from floodmark.agent.routes import COUNTED
from floodmark.agent.rows import COLLECTED, COLLECTIONS, GENERATIONS, PAUSE_BOUNDS, SUM, UNCOLLECTABLE
from floodmark.agent.slab import Cell

if TYPE_CHECKING:
    from collections.abc import Callable

    from floodmark.agent.slab import Slab

# The generations after whose collection nothing is left that could be: in most builds the oldest one. A
# free-threaded build has only one and calls it 0. 3.14.0 to 3.14.4 never collect the oldest by themselves but
# a part of it at a time, which they call 1: garbage it hasn't come to yet is counted as live there.
_OLDEST = 2
_INCREMENTAL = (3, 14, 0) <= sys.version_info[:3] <= (3, 14, 4)
FULL = frozenset({0, 1, 2} if "t" in sys.abiflags else {1, 2} if _INCREMENTAL else {_OLDEST})
_PACE = 1.0  # seconds between looks after collections of younger ones: counting blocks walks the heap


def watch(slab: Slab) -> Callable[[str, dict[str, int]], None]:
    """Count this process's collections from now on; return the callback, for ``gc.callbacks.remove``."""
    cells = slab.cells
    pauses = [slab.row(f"pause {generation}") for generation in range(GENERATIONS)]
    rows = [slab.row(f"gc {generation}") for generation in range(GENERATIONS)]
    statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    page = os.sysconf("SC_PAGE_SIZE")
    started, looked = 0.0, -_PACE

    def live_set(now: float) -> None:
        nonlocal looked
        looked = now
        _, resident, shared, *_ = os.pread(statm, 128, 0).split()
        if COUNTED:
            cells[Cell.LIVE_BLOCKS] = sys.getallocatedblocks()
        cells[Cell.LIVE_BYTES] = (int(resident) - int(shared)) * page

    def collected(phase: str, info: dict[str, Any]) -> None:
        nonlocal started
        now = time.perf_counter()
        if phase == "start":
            started = now
            return
        generation = info["generation"]
        pause, row = pauses[generation], rows[generation]
        cells[pause + bisect_left(PAUSE_BOUNDS, now - started)] += 1.0
        cells[pause + SUM] += now - started
        cells[row + COLLECTIONS] += 1.0
        cells[row + COLLECTED] += info["collected"]
        cells[row + UNCOLLECTABLE] += info["uncollectable"]
        if generation in FULL and (generation == _OLDEST or now - looked >= _PACE):
            with contextlib.suppress(OSError, ValueError):
                live_set(now)

    gc.callbacks.append(collected)
    return collected
