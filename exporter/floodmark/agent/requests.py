"""What a worker counts of its requests. This runs for each of them: every line here is paid for by the app.

Hence closures over local names rather than methods, and a store where there could be a record. ``make bench``
tells what it costs.
"""

from __future__ import annotations

import os
import sys
import time
from _thread import allocate_lock  # the real one, also after gevent has patched threading
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, NamedTuple

from floodmark.agent.routes import COUNTED, ROUTE, Routes
from floodmark.agent.rows import BOUNDS, METHODS, OTHER, QUOTAS, SUM
from floodmark.agent.slab import CROWD, SLOT, SLOTS, Cell

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from floodmark.agent.slab import Slab, Slot

_SAMPLED = 5.0  # seconds between looks at what costs more than a request may
# What proxies write: nanoseconds, microseconds (Apache, New Relic), milliseconds (Heroku), seconds (nginx);
# the least number that is one of them, for times since 2001.
_UNITS = ((1e18, 1e-9), (1e15, 1e-6), (1e12, 1e-3), (1e9, 1.0))
_STAMPS = ("HTTP_X_REQUEST_START", "HTTP_X_QUEUE_START")
_LONGEST_WAIT = 3600.0  # seconds; beyond that it is another clock, not a queue


class Hooks(NamedTuple):
    """A worker's hooks: two as gunicorn calls them, and one that takes what its access log gets.

    That one is for error pages, which come after ``post_request``, and for workers that call no hooks.
    """

    pre_request: Callable[[Any, Any], None]
    post_request: Callable[[Any, Any, Any, Any], None]
    access: Callable[[Any, Any, Any, timedelta], None]


class _Unseen:
    """A request of which nothing was seen before its answer."""

    def __init__(self, method: str) -> None:
        self.method = method


class _Page:
    """An answer that gunicorn gives by itself."""

    headers_sent = True

    def __init__(self, status: str) -> None:
        self.status_code = int(status.split(None, 1)[0])


def waited(stamp: str, now: float) -> float | None:
    """Return the seconds since a proxy took a request, by its X-Request-Start or X-Queue-Start header.

    Args:
        stamp: the header: a time since 1970 in s, ms, us or ns, perhaps behind ``t=``.
        now: Unix time.

    Returns:
        None for what is no time, or one of another clock; never less than 0, however clocks differ.
    """
    try:
        value = float(stamp.rpartition("t=")[2].partition(",")[0])
    except ValueError:
        return None
    for least, unit in _UNITS:
        if value >= least:
            seconds = now - value * unit
            return max(0.0, seconds) if abs(seconds) < _LONGEST_WAIT else None
    return None


def hooks(  # noqa: C901, PLR0915 - one scope for all, see above
    slab: Slab, broken: Callable[[], None], *, threaded: bool
) -> Hooks:
    """Make the hooks of a worker.

    Args:
        slab: the worker's.
        broken: called in an ``except`` when counting failed: the request itself goes on.
        threaded: requests are served by threads other than the main one. In that one a signal may raise
            anywhere, as gunicorn's own do: it never takes a lock that it might not give back.
    """
    cells, raw = slab.cells, slab.raw
    steady, fill = time.monotonic, SLOT.pack_into
    lock = allocate_lock()
    acquire, release = lock.acquire, lock.release
    free = [slab.slot(number) for number in range(SLOTS)]
    in_flight: dict[Any, tuple[float, Slot]] = {}
    failed: dict[Any, tuple[float, Slot]] = {}  # still in flight: their error page is to come
    rows: dict[tuple[str, int], int] = {}
    wait_row, other = slab.row("wait"), slab.row(OTHER["request"])
    routes = Routes(slab, lock)
    by_route, paths = False, os.environ.get("FLOODMARK_AGENT_PATHS", "1") not in ("0", "no", "false")
    fast, due = BOUNDS[0], 0.0
    # Most requests are as the one before: a row is looked up where they differ.
    last: tuple[str, int, int] = "", 0, other
    stamped = _STAMPS[0]  # a proxy writes one of them: which it is, is looked at as seldom as the blocks

    def crowded() -> Slot:
        with lock:
            cells[Cell.CROWD] += 1.0
        return CROWD

    def leave(slot: Slot) -> None:
        cells[slot[3]] = 0.0
        if slot is CROWD:
            with lock:
                cells[Cell.CROWD] -= 1.0
        else:
            free.append(slot)

    def look_up(method: str, status: int) -> int:
        nonlocal last
        known = method if method in METHODS else "other"
        row = rows.get((known, status))
        if row is None:
            with lock:
                if (known, status) not in rows and len(rows) < QUOTAS["request"]:
                    rows[known, status] = slab.row(f"request {known} {status}")
                row = rows.get((known, status), other)
        last = method, status, row
        return row

    def count_wait(stamp: str, seconds: float) -> None:
        wait = waited(stamp, time.time() - seconds)
        if wait is not None:
            with lock:
                cells[wait_row + bisect_left(BOUNDS, wait)] += 1.0
                cells[wait_row + SUM] += wait

    def sample(now: float, environ: Any) -> None:
        nonlocal due, stamped
        due = now + _SAMPLED
        stamped = next((name for name in _STAMPS if name in environ), stamped)
        if COUNTED:
            cells[Cell.BLOCKS] = sys.getallocatedblocks()

    def unanswered(req: Any, environ: Any, begun: tuple[float, Slot]) -> None:
        kind, _, _ = sys.exc_info()
        if kind is None or issubclass(kind, OSError) or not issubclass(kind, (Exception, SystemExit)):
            leave(begun[1])  # a websocket has it now, or the client left, or a greenlet was killed
        elif environ.get("HTTP_VERSION") == "2":  # whose error has no page
            in_flight[req] = begun
            post_request(None, req, environ, _Page("500"))
        else:
            failed[req] = begun

    def pre_request(_: Any, req: Any) -> None:
        try:
            try:
                line = f"{req.method} {req.path}".encode() if paths else req.method.encode()
            except UnicodeEncodeError:  # half a surrogate pair, which no client of good will sends
                line = f"{req.method} ?".encode("utf-8", "replace")
            slot = free.pop() if free else crowded()
            started = steady()
            in_flight[req] = started, slot
            fill(raw, slot[0], line, 0.0, 0.0, started)
            if by_route:
                routes.begin(req, alone=len(in_flight) == 1)
        except Exception:
            broken()

    def post_request(_: Any, req: Any, environ: Any, resp: Any) -> None:  # noqa: C901 - calls cost
        nonlocal by_route
        try:
            begun = in_flight.pop(req, None)
            if begun is None:
                return
            if resp is None or not resp.headers_sent:
                unanswered(req, environ, begun)
                return
            now = steady()
            started, slot = begun
            seconds = now - started
            method, status, row = last
            if resp.status_code != status or req.method != method:
                row = look_up(req.method, resp.status_code)
            cell = row if seconds <= fast else row + bisect_left(BOUNDS, seconds)
            if threaded:
                acquire()
            try:
                # Whatever the moment of a SIGKILL, the request is found to be counted, or to be in flight.
                count = cells[cell] + 1.0
                cells[slot[1]] = cell
                cells[slot[2]] = count
                cells[cell] = count
                cells[slot[3]] = 0.0
                cells[row + SUM] += seconds
            finally:
                if threaded:
                    release()
            if slot is CROWD:
                leave(slot)
            else:
                free.append(slot)
            if now >= due:
                sample(now, environ)
            if stamped in environ:
                count_wait(environ[stamped], seconds)
            if ROUTE in environ:
                by_route = True
                routes.count(req, environ[ROUTE], resp.status_code, seconds)
        except Exception:
            broken()

    def access(resp: Any, req: Any, environ: Any, took: timedelta) -> None:
        try:
            listed = not hasattr(req, "headers")  # gevent's own server gives them alone
            if listed or req not in in_flight:  # else post_request is still to come
                begun = None if listed else failed.pop(req, None)
                if begun is None:
                    req = _Unseen(environ["REQUEST_METHOD"])
                    begun = steady() - took.total_seconds(), free.pop() if free else crowded()
                in_flight[req] = begun
                post_request(None, req, environ, _Page(resp.status))
        except Exception:
            broken()

    return Hooks(pre_request, post_request, access)
