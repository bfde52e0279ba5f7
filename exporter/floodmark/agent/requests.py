"""What a worker counts of its requests. This runs for each of them: every line here is paid for by the app.

Hence closures over local names rather than methods, and a store where there could be a record. ``make bench``
tells what it costs.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from _thread import allocate_lock  # the real one, also after gevent has patched threading
from bisect import bisect_left
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

from floodmark.agent.rows import (
    BOUNDS,
    METHODS,
    OTHER,
    QUOTAS,
    ROUTE_BLOCKS,
    ROUTE_MEASURED,
    ROUTE_SECONDS,
    ROUTE_STATUS,
    SUM,
)
from floodmark.agent.slab import CLOSING, CROWD, SLOT, SLOTS, Cell

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import timedelta

    from floodmark.agent.slab import Slab, Slot

    Scope = dict[str, Any]
    Message = dict[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

ROUTE = "floodmark.route"  # where adapters put the route's template: in WSGI's environ or ASGI's scope

# Python counts its blocks, unless it was told to use another allocator (PYTHONMALLOC=malloc): then it says 0.
COUNTED = sys.getallocatedblocks() > 0

CLOSING_AT = 8 * Cell.CLOSING_CELL

_MEASURING = 1000.0  # times as long as counting blocks takes it is left alone: a thousandth of the time
_FEW, _MANY = 128, 2000  # Python keeps at most 80 dicts and lists, 100 floats, 2000 tuples of each size
_SAMPLED = 5.0  # seconds between looks at what costs more than a request may
_FAILED = 64  # requests that wait for their error page; it comes at once or never
# What proxies write: nanoseconds, microseconds (Apache, New Relic), milliseconds (Heroku), seconds (nginx);
# the least number that is one of them, for times since 2001.
_UNITS = ((1e18, 1e-9), (1e15, 1e-6), (1e12, 1e-3), (1e9, 1.0))
_LONGEST_WAIT = 3600.0  # seconds; beyond that it is another clock, not a queue


class Hooks(NamedTuple):
    """A worker's hooks: two as gunicorn calls them, one for its access log, and one that wraps an ASGI app.

    ``access`` takes what gunicorn's logger gets; it counts what the other two can't see.
    """

    pre_request: Callable[[Any, Any], None]
    post_request: Callable[[Any, Any, Any, Any], None]
    access: Callable[[Any, Any, Any, timedelta], None]
    asgi: Callable[[AsgiApp], AsgiApp]


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
    slab: Slab,
    own_pre: Callable[[Any, Any], None] | None,
    own_post: Callable[[Any, Any, Any, Any], None] | None,
    broken: Callable[[], None],
) -> Hooks:
    """Make the hooks of a worker.

    Args:
        slab: the worker's.
        own_pre: the app's own pre_request hook, called first; None for none.
        own_post: the app's own post_request hook, called last.
        broken: called in an ``except`` when counting failed: the request itself goes on.
    """
    cells, raw = slab.cells, slab.raw
    steady, text, fill, closing = time.monotonic, _text(), SLOT.pack_into, CLOSING.pack_into
    lock = allocate_lock()
    free = [slab.slot(number) for number in range(SLOTS)]
    in_flight: dict[int, tuple[float, Slot]] = {}
    failed: dict[int, tuple[float, Any]] = {}
    rows: dict[tuple[str, int], int] = {}
    routes: dict[str, int] = {}
    wait_row = slab.row("wait")
    others = {kind: slab.row(name) for kind, name in OTHER.items()}
    due = 0.0
    # The blocks that a request leaves behind: told only of one that was alone, and not of each, for counting
    # walks the whole heap.
    by_route = False
    alone, left_by, blocks, collections, measured_at = 0, 0, 0, 0, 0.0

    def crowded() -> Slot:
        with lock:
            cells[Cell.CROWD] += 1.0
        return CROWD

    def uncrowded() -> None:
        with lock:
            cells[Cell.CROWD] -= 1.0

    def request_row(method: str, status: int) -> int:
        known = method if method in METHODS else "other"
        with lock:
            row = rows.get((known, status))
            if row is None:
                if len(rows) >= QUOTAS["request"]:
                    return others["request"]
                row = rows[known, status] = slab.row(f"request {known} {status}")
            return row

    def count_wait(stamp: str, seconds: float) -> None:
        wait = waited(stamp, time.time() - seconds)
        if wait is not None:
            with lock:
                cells[wait_row + bisect_left(BOUNDS, wait)] += 1.0
                cells[wait_row + SUM] += wait

    def mark(key: int, req: Any, now: float) -> None:
        """Measure, at a request's start, what the one before it left, and what this one starts from.

        Not at its end: there the server still holds some 40 blocks of it. At its start it holds the headers
        alone: a name, a value and their pair.
        """
        nonlocal alone, left_by, blocks, collections, measured_at
        row, alone, left_by = left_by, 0, 0
        if len(in_flight) > 1 or not (row or now >= measured_at):
            return
        before = steady()
        found = _live_blocks() - 3 * len(req.headers)
        full = gc.get_stats()[2]["collections"]
        if row and full == collections:
            with lock:
                cells[row + ROUTE_BLOCKS] += found - blocks
                cells[row + ROUTE_MEASURED] += 1.0
        if now >= measured_at:
            alone, blocks, collections = key, found, full
            measured_at = now + 2 * _MEASURING * (steady() - before)

    def count_route(key: int, route: str, status: int, seconds: float) -> None:
        nonlocal by_route, left_by
        by_route = COUNTED
        row = routes.get(route)
        if row is None:
            with lock:
                row = routes.get(route)
                if row is None and len(routes) < QUOTAS["route"]:
                    row = routes[route] = slab.row(f"route {route}")
        if row is None:
            row = others["route"]
        with lock:
            cells[row + ROUTE_STATUS + min(max(status // 100, 1), 5) - 1] += 1.0
            cells[row + ROUTE_SECONDS] += seconds
        if alone == key:
            left_by = row

    def sample(now: float) -> None:
        nonlocal due
        due = now + _SAMPLED
        if COUNTED:
            cells[Cell.BLOCKS] = sys.getallocatedblocks()

    def answered(  # noqa: PLR0913, PLR0917 - a tuple for them would be one more per request
        key: int, method: str, status: int, environ: Any, started: float, slot: Slot
    ) -> None:
        now = steady()
        seconds = now - started
        row = rows.get((method, status)) or request_row(method, status)
        cell = row + bisect_left(BOUNDS, seconds)
        with lock:
            # Whatever the moment of a SIGKILL, the request is found to be counted, or to be in flight.
            count = cells[cell] + 1.0
            closing(raw, CLOSING_AT, cell, count, started)
            cells[cell] = count
            cells[slot[1]] = 0.0
            cells[row + SUM] += seconds
        if slot is not CROWD:
            free.append(slot)
        stamp = environ.get("HTTP_X_REQUEST_START") or environ.get("HTTP_X_QUEUE_START")
        if stamp is not None:
            count_wait(stamp, seconds)
        if ROUTE in environ:
            count_route(key, environ[ROUTE], status, seconds)
        if now >= due:
            sample(now)

    def unanswered(key: int, req: Any, environ: Any, started: float, slot: Slot) -> None:
        kind, _, _ = sys.exc_info()
        gone = kind is None or issubclass(kind, OSError)  # a websocket has it now, or the client left
        if not gone and environ.get("HTTP_VERSION") == "2":
            answered(key, req.method, 500, environ, started, slot)
            return
        cells[slot[1]] = 0.0
        if slot is not CROWD:
            free.append(slot)
        if not gone:  # an error page follows, and comes to ``access``
            if len(failed) >= _FAILED:
                failed.clear()
            failed[key] = started, req  # kept, or another could have its id

    def pre_request(worker: Any, req: Any) -> None:
        if own_pre is not None:
            own_pre(worker, req)
        try:
            key = id(req)
            line = text(req)
            slot = free.pop() if free else crowded()
            started = steady()
            in_flight[key] = started, slot
            fill(raw, slot[0], line, started)
            if by_route:
                mark(key, req, started)
        except Exception:
            broken()

    def post_request(worker: Any, req: Any, environ: Any, resp: Any) -> None:
        try:
            key = id(req)
            if key in in_flight:
                started, slot = in_flight.pop(key)
                if slot is CROWD:
                    uncrowded()
                if resp is not None and resp.headers_sent:
                    answered(key, req.method, resp.status_code, environ, started, slot)
                else:
                    unanswered(key, req, environ, started, slot)
        except Exception:
            broken()
        if own_post is not None:
            own_post(worker, req, environ, resp)

    def access(resp: Any, req: Any, environ: Any, took: timedelta) -> None:
        try:
            key = id(req)
            if key not in in_flight:  # else post_request is still to come
                known = failed.pop(key, None)
                started = known[0] if known else steady() - took.total_seconds()
                status = int(str(resp.status).split(None, 1)[0])
                answered(key, environ["REQUEST_METHOD"], status, environ, started, CROWD)
        except Exception:
            broken()

    def asgi(app: AsgiApp) -> AsgiApp:
        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            request = _AsgiRequest(scope)
            done = False

            async def sent(message: Message) -> None:
                nonlocal done
                await send(message)
                if message["type"] == "http.response.start":
                    request.status_code = message["status"]
                    request.headers_sent = True
                elif message["type"] == "http.response.body" and not message.get("more_body"):
                    done = True
                    post_request(None, request, request.environ(), request)

            pre_request(None, request)
            try:
                await app(scope, receive, sent)
                request.headers_sent = True  # with 500, the server's own answer, if the app gave none
            except Exception:
                request.headers_sent = True  # likewise
                raise
            finally:
                if not done:
                    post_request(None, request, request.environ(), request)

        return counted

    return Hooks(pre_request, post_request, access, asgi)


class _AsgiRequest:
    """Request and response in one, with the names that gunicorn's own have."""

    __slots__ = ("headers", "headers_sent", "method", "path", "scope", "status_code")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers = scope["headers"]
        self.headers_sent = False
        self.status_code = 500  # what the server answers for an app that doesn't

    def environ(self) -> Scope:
        """Return what is looked up in an environ."""
        found = {ROUTE: self.scope[ROUTE]} if ROUTE in self.scope else {}
        for name, value in self.scope["headers"]:
            if name in (b"x-request-start", b"x-queue-start"):
                found["HTTP_X_REQUEST_START"] = value.decode("latin-1")
        return found


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


def _text() -> Callable[[Any], bytes]:
    """Return what makes the text of a request in flight: with its path, or without where they are secret."""
    if os.environ.get("FLOODMARK_AGENT_PATHS", "1") in ("0", "no", "false"):
        return lambda req: str(req.method).encode("utf-8", "replace")
    return lambda req: f"{req.method} {req.path}".encode("utf-8", "replace")
