"""A WSGI and an ASGI app that keep a worker at work, and write down which; run by real gunicorn."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

# Under --preload a table that all workers share.
TABLE = b"\1" * (int(os.environ.get("LOADED_TABLE_MIB", "0")) << 20)
LONG = 60  # seconds: longer than a test looks


def _receive() -> None:
    ours, _theirs = socket.socketpair()
    ours.settimeout(LONG)
    ours.recv(1)


def _compute() -> None:
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        sum(range(10_000))


_DO: dict[str, Callable[[], object]] = {
    "/": lambda: None,
    "/receive": _receive,
    "/compute": _compute,
    "/lock": lambda: threading.Event().wait(LONG),
}


def _write_down() -> None:
    with Path(os.environ["LOADED"]).open("a") as file:
        file.write(f"{os.getpid()}\n")


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Do what the path says."""
    if environ["PATH_INFO"] != "/":
        _write_down()
    _DO[environ["PATH_INFO"]]()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"ok\n"]


async def asgi(scope: dict[str, Any], _: object, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """Wait, whatever the path but ``/``."""
    if scope["type"] == "http":
        if scope["path"] != "/":
            _write_down()
            await asyncio.sleep(LONG)
        headers = [(b"content-length", b"3")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok\n"})
