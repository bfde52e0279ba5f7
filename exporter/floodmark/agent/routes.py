"""Requests by route, for apps whose adapter tells the route's template: which route leaks.

The blocks that a request leaves allocated are told only of one that was alone in its worker, and not of each:
counting walks the whole heap.
"""

from __future__ import annotations

import gc
import sys
import time
from itertools import repeat
from typing import TYPE_CHECKING, Any

from floodmark.agent.rows import (
    OTHER,
    QUOTAS,
    ROUTE_BLOCKS,
    ROUTE_MEASURED,
    ROUTE_SECONDS,
    ROUTE_STATUS,
)

if TYPE_CHECKING:
    from _thread import LockType

    from floodmark.agent.slab import Slab

ROUTE = "floodmark.route"  # where adapters put the template: in WSGI's environ or ASGI's scope
# Python counts its blocks, unless it was told to use another allocator (PYTHONMALLOC=malloc): then it says 0.
COUNTED = sys.getallocatedblocks() > 0

_MEASURING = 2000.0  # times as long as measuring takes is left alone: a request is measured at both its ends
_FEW, _MANY = 128, 2000  # Python keeps at most 80 dicts and lists, 100 floats, 2000 tuples of each size
_CLASSES = 5  # of a status: 1xx to 5xx


class Routes:
    """Counts requests by route in a worker's slab.

    Args:
        slab: the worker's.
        lock: that of the slab's rows.
    """

    def __init__(self, slab: Slab, lock: LockType) -> None:
        self._slab, self._lock = slab, lock
        self._rows: dict[str, int] = {}
        self._other = slab.row(OTHER["route"])
        self._due = 0.0
        self._measured: Any = None  # the request that is measured, while it is served
        self._left_by = 0  # the row of the last request, if it was measured
        self._blocks = self._collections = 0

    def begin(self, req: Any, *, alone: bool) -> None:
        """Measure, at a request's start, what the one before it left, and what this one starts from.

        Not at its end: there the server still holds some 40 blocks of it. At its start it holds the headers
        alone: a name, a value and their pair.
        """
        row, self._left_by, self._measured = self._left_by, 0, None
        before = time.monotonic()
        if not COUNTED or not alone or not (row or before >= self._due):
            return
        found = _live_blocks() - 3 * len(req.headers)
        full = gc.get_stats()[-1]["collections"]  # one of all generations frees what others left
        if row and full == self._collections:
            with self._lock:
                self._slab.cells[row + ROUTE_BLOCKS] += found - self._blocks
                self._slab.cells[row + ROUTE_MEASURED] += 1.0
        if before >= self._due:
            self._measured, self._blocks, self._collections = req, found, full
            now = time.monotonic()
            self._due = now + _MEASURING * (now - before)

    def count(self, req: Any, route: str, status: int, seconds: float) -> None:
        """Count an answer."""
        row = self._rows.get(route) or self._new(route)
        cells = self._slab.cells
        with self._lock:
            cells[row + ROUTE_STATUS + min(max(status // 100, 1), _CLASSES) - 1] += 1.0
            cells[row + ROUTE_SECONDS] += seconds
        if self._measured is req:
            self._measured, self._left_by = None, row

    def _new(self, route: str) -> int:
        with self._lock:
            if len(self._rows) < QUOTAS["route"] and route not in self._rows:
                self._rows[route] = self._slab.row(f"route {route}")
            return self._rows.get(route, self._other)


def _live_blocks() -> int:
    """Return the allocated blocks that are in use, and a constant.

    Two kinds are not in use. Cycles: frameworks leave 8 to 150 blocks in them with each request, so the young
    generations are collected first; the oldest would take too long. And what Python keeps for the next dict,
    list, float or tuple: a request that leaks dicts takes them from there, and the next one that frees some
    would be blamed. So as many as it keeps are taken while counting.
    """
    if gc.isenabled():
        gc.collect(1)
    taken: list[Any] = [({"": each}, [each], each + 0.5) for each in range(_FEW)]
    taken += [list(zip(*[repeat(None, _MANY * size)] * size)) for size in range(1, 7)]
    return sys.getallocatedblocks() if taken else 0
