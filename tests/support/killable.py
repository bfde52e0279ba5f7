"""A WSGI app that dies in every way a worker can; run by real gunicorn in the live tests."""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

_kept: list[bytes] = []


def _keep(mebibytes: int) -> None:
    for _ in range(mebibytes):
        _kept.append(b"\1" * (1 << 20))  # noqa: PERF401 - piece by piece, as leaks do


def _stick_in_c(seconds: int) -> None:
    # No signal handler in Python can run before it returns, and no signal cuts it short as it would a sleep.
    hashlib.pbkdf2_hmac("sha256", b"", b"", seconds * 4_000_000)


_DO: dict[str, Callable[[int], object]] = {
    "/": lambda _: None,
    "/wait": time.sleep,
    "/stick-in-c": _stick_in_c,
    "/keep": _keep,
    "/signal": lambda number: os.kill(os.getpid(), number),
    "/exit": os._exit,
}


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Do what the path says with the number in the query string."""
    _DO[environ["PATH_INFO"]](int(environ["QUERY_STRING"] or 0))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok\n"]
