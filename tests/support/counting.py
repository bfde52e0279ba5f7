"""A WSGI app with its own prometheus_client metrics in multiprocess mode; run by real gunicorn."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

REQUESTS = Counter("shop_requests", "Requests.", ["path"], registry=None)
DURATION = Histogram("shop_duration_seconds", "Durations.", registry=None)
SIZE = Summary("shop_size_bytes", "Sizes.", registry=None)
GAUGES = [
    Gauge(f"shop_{mode}", "A level.", multiprocess_mode=mode, registry=None)
    for mode in ("all", "max", "sum", "mostrecent", "livesum", "liveall")
]


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Count each request before it is answered, in numbers that add up exactly in whatever order."""
    path = environ["PATH_INFO"]
    if path == "/metrics":
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [generate_latest(registry)]
    REQUESTS.labels(path).inc()
    DURATION.observe(os.getpid() / 4096)
    SIZE.observe(os.getpid())
    for gauge in GAUGES:
        gauge.set(os.getpid())
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"ok\n"]
