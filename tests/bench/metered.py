"""The same app with prometheus_client as people write it: a counter and a histogram, by method and status.

Run as a program it serves what all workers have written, as prometheus_client's documentation has it.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

from tests.bench import hello

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from wsgiref.types import StartResponse, WSGIEnvironment

REQUESTS = Counter("app_requests", "Requests answered.", ["method", "status"])
DURATION = Histogram("app_request_duration_seconds", "Time to an answer.", ["method", "status"])


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer, and count it."""
    started = time.perf_counter()
    status = "500"

    def keep(
        line: str,
        headers: list[tuple[str, str]],
        error: tuple[type[BaseException], BaseException, TracebackType]
        | tuple[None, None, None]
        | None = None,
        /,
    ) -> object:
        nonlocal status
        status = line[:3]
        return start_response(line, headers, error)

    try:
        return hello.app(environ, keep)  # type: ignore[arg-type] # what write() is like, no one here asks
    finally:
        method = environ["REQUEST_METHOD"]
        REQUESTS.labels(method, status).inc()
        DURATION.labels(method, status).observe(time.perf_counter() - started)


if __name__ == "__main__":
    registry = CollectorRegistry()
    MultiProcessCollector(registry, os.environ["PROMETHEUS_MULTIPROC_DIR"])
    _, thread = start_http_server(int(sys.argv[1]), "127.0.0.1", registry)
    thread.join()
