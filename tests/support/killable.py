"""A WSGI and an ASGI app that die in every way a worker can; run by real gunicorn in the live tests."""

from __future__ import annotations

import gc
import hashlib
import itertools
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

# Once this file is there, a worker that boots fails.
if Path(os.environ.get("KILLABLE_BROKEN", "/nonexistent")).exists():
    raise RuntimeError("the app is broken now")

# While this file is there, a worker that boots dies right after.
if Path(os.environ.get("KILLABLE_SHORT_LIVED", "/nonexistent")).exists():
    threading.Timer(0.1, os._exit, (7,)).start()

_kept: list[object] = []


def _keep(mebibytes: int) -> None:
    for _ in range(mebibytes):
        _kept.append(b"\1" * (1 << 20))  # noqa: PERF401 - piece by piece, as leaks do


def _stick_in_c(seconds: int) -> None:
    # No signal handler in Python can run before it returns, and no signal cuts it short as it would a sleep.
    hashlib.pbkdf2_hmac("sha256", b"", b"", seconds * 4_000_000)


def _hold_gil(_: int) -> None:
    # For ever, in C: no other thread of the process runs either, and no signal handler.
    sum(itertools.repeat(0))


def _spin(_: int) -> None:
    # For ever, in Python, without a call that gevent could make yield: a signal handler runs at once.
    while True:
        pass


_DO: dict[str, Callable[[int], object]] = {
    "/": lambda _: None,
    "/wait": time.sleep,
    "/stick-in-c": _stick_in_c,
    "/hold-gil": _hold_gil,
    "/spin": _spin,
    "/keep": _keep,
    "/leak": lambda number: _kept.extend([each] for each in range(number)),
    "/collect": lambda _: gc.collect(),
    "/signal": lambda number: os.kill(os.getpid(), number),
    "/abort": lambda _: os.abort(),
    "/exit": os._exit,
}


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Do what the path says with the number in the query string."""
    _DO[environ["PATH_INFO"]](int(environ["QUERY_STRING"] or 0))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok\n"]


async def asgi(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Do the same in the event loop's own thread."""
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    _DO[scope["path"]](int(scope["query_string"] or 0))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok\n"})
