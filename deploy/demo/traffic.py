"""Requests to 127.0.0.1, and visitors for the demo's app: a few a second, one at a time."""

from __future__ import annotations

import http.client
import itertools
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import threading

# What people do in a shop, in turn; nothing of it comes near the timeout or leaks.
_VISIT = ("/", "/", "/report?seconds=0.1", "/", "/burn?seconds=0.02", "/", "/report?seconds=0.3", "/nowhere")
_PAUSE = 0.2  # seconds


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    body: bytes


def get(port: int, path: str, seconds: float) -> Answer | None:
    """GET a path from 127.0.0.1, past any proxy; None if no whole answer came within that time."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def visit(port: int, stop: threading.Event) -> None:
    """Ask for one page after the other until told to stop; an app that doesn't answer is no error here."""
    for path in itertools.cycle(_VISIT):
        if stop.wait(_PAUSE):
            return
        get(port, path, seconds=5)
