"""Requests by app, status and duration, as gunicorn's StatsD tells them."""

from __future__ import annotations

import logging
import threading
from bisect import bisect_left
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

from floodmark.agent.rows import BOUNDS
from floodmark.metric import Distribution
from floodmark.sources import statsd

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

ORIGINS = 64  # a flood of made-up prefixes must not become a flood of series
UNKNOWN = "unknown"


class Origin(NamedTuple):
    """Where a packet came from: the app whose own socket it came in on, or empty, and its prefix."""

    socket_app: str
    prefix: str


class _Counts:
    def __init__(self) -> None:
        self.by_status: Counter[str] = Counter()
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0


class AppRequests(NamedTuple):
    """One app's requests since the start: by status, and their durations."""

    by_status: dict[str, float]
    durations: Distribution


class Requests:
    """Counts what packets tell. Packets are taken on one thread, read from others."""

    def __init__(self) -> None:
        self._running: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._counts: dict[Origin, _Counts] = {}
        self._apps: dict[Origin, str] = {}
        self._full = False
        self.rejected = 0

    def take(self, socket_app: str, datagram: bytes) -> None:
        """Count a datagram; one that isn't gunicorn's StatsD counts as rejected."""
        with self._lock:
            try:
                for told in statsd.parse(datagram):
                    self._take(Origin(socket_app, told.prefix), told)
            except ValueError:
                self.rejected += 1

    def _take(self, origin: Origin, told: statsd.Status | statsd.Duration) -> None:
        counts = self._counts.get(origin)
        if counts is None:
            if len(self._counts) >= ORIGINS and origin.prefix not in self._running:
                if not self._full:
                    log.warning("too many StatsD prefixes: new ones are rejected", extra={"most": ORIGINS})
                self._full = True
                raise ValueError("one origin too many")
            counts = self._counts[origin] = _Counts()
        if isinstance(told, statsd.Status):
            counts.by_status[told.status] += told.requests  # type: ignore[assignment] # a sampled count is a float
        else:
            counts.buckets[bisect_left(BOUNDS, told.seconds)] += 1
            counts.seconds += told.seconds

    def by_app(self, prefixes: Mapping[str, str]) -> dict[str, AppRequests]:
        """Return the requests of each app.

        Args:
            prefixes: the running apps: label to StatsD prefix, which may be empty.
        """
        with self._lock:
            # A flood of made-up prefixes must not lock out an app that is there.
            self._running = frozenset(own.rstrip(".") or app for app, own in prefixes.items())
            merged: dict[str, _Counts] = defaultdict(_Counts)
            for origin, counts in self._counts.items():
                total = merged[self._app(origin, prefixes)]
                total.by_status.update(counts.by_status)
                total.buckets = [a + b for a, b in zip(total.buckets, counts.buckets, strict=True)]
                total.seconds += counts.seconds
            return {
                app: AppRequests(
                    dict(counts.by_status), Distribution(BOUNDS, tuple(counts.buckets), counts.seconds)
                )
                for app, counts in merged.items()
            }

    def _app(self, origin: Origin, prefixes: Mapping[str, str]) -> str:
        """Tell the app of an origin. One that was told once stays, or a series would jump to another app."""
        if origin not in self._apps:
            app = origin.socket_app or self._by_prefix(origin.prefix, prefixes)
            if app == UNKNOWN:
                return app
            self._apps[origin] = app
        return self._apps[origin]

    @staticmethod
    def _by_prefix(prefix: str, prefixes: Mapping[str, str]) -> str:
        if prefix:
            return next((app for app, own in prefixes.items() if own.rstrip(".") == prefix), prefix)
        return next(iter(prefixes)) if len(prefixes) == 1 else UNKNOWN
