"""Visitors for the demo's app: never more than one request at a time, a few a second."""

from __future__ import annotations

import http.client
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading

# What people do in a shop, in turn; nothing of it comes near the timeout or leaks.
_VISIT = ("/", "/", "/report?seconds=0.1", "/", "/burn?seconds=0.02", "/", "/report?seconds=0.3", "/nowhere")
_PAUSE = 0.2  # seconds


def visit(port: int, stop: threading.Event) -> None:
    """Ask for one page after the other until told to stop; an app that doesn't answer is no error here."""
    for path in itertools.cycle(_VISIT):
        if stop.wait(_PAUSE):
            return
        request(port, path, seconds=5)


def request(port: int, path: str, seconds: float) -> int | None:
    """GET a path from 127.0.0.1, past any proxy.

    Returns:
        The status, None if there was no answer within `seconds`.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
