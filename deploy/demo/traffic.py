"""Requests to 127.0.0.1, and visitors for the demo's app: a few a second, one at a time.

As a command: the visitors of Docker Compose's demo, who also bring its workers down now and then.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import sys
import threading
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

# What people do in a shop, in turn; nothing of it comes near the timeout or leaks.
_VISIT = ("/", "/", "/report?seconds=0.1", "/", "/burn?seconds=0.02", "/", "/report?seconds=0.3", "/nowhere")
_PAUSE = 0.2  # seconds
_PEACE = 180  # seconds between one end and the next
_MOST = 16  # uploads of 32 MiB: twice the memory of Compose's app
_OK = 200


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


def harm(port: int, wait: Callable[[float], object]) -> None:
    """Have gunicorn kill a worker at its timeout and, later, the kernel one at the app's memory limit.

    Args:
        port: the app's.
        wait: called with the seconds of peace before each.
    """
    wait(_PEACE)
    get(port, "/report?seconds=3600", seconds=60)
    wait(_PEACE)
    for _ in range(_MOST):
        # A worker that is killed gives no answer: that was it.
        if get(port, "/upload?mib=32", seconds=30) is None:
            return


def main() -> int:
    """Visit and harm until stopped; with --once ask for one page, and exit 1 if it doesn't come."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--port", type=int, default=8000, help="the app's, on 127.0.0.1 (default: %(default)s)"
    )
    parser.add_argument("--once", action="store_true", help="ask for one page: a health check")
    given = parser.parse_args()
    if given.once:
        answer = get(given.port, "/", seconds=5)
        return 0 if answer is not None and answer.status == _OK else 1
    stop = threading.Event()
    threading.Thread(target=visit, args=(given.port, stop), daemon=True).start()
    while True:
        harm(given.port, stop.wait)


if __name__ == "__main__":
    sys.exit(main())
