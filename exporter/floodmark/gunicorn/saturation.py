"""What a worker is doing, told from outside: pure, from what was seen of its connections.

CPU time calls a worker that waits for a database idle. An accepted connection doesn't: whoever holds one
works for it, except where clients keep connections open between requests. A gthread worker watches those with
epoll, and no longer those that it works for: so it is from gunicorn 20.1 to 27. gevent and asyncio watch what
they like: an idle connection of theirs can't be told from a request.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

# What an idle sync worker waits in: select and pselect6, by machine as os.uname() has it.
SELECT: Mapping[str, frozenset[int]] = {
    "x86_64": frozenset({23, 270}),
    "aarch64": frozenset({72}),
}
# Worker classes whose epoll descriptor watches the connections that wait for their client, and no others.
POLLS_IDLE = frozenset({"gthread"})
# Worker classes that serve one request for each thread.
THREADED = frozenset({"sync", "gthread"})


class State(enum.StrEnum):
    """What gunicorn_workers counts."""

    BUSY = "busy"
    IDLE = "idle"
    UNKNOWN = "unknown"


class Seen(NamedTuple):
    """What was seen of a worker.

    Attributes:
        connections: accepted connections that it holds.
        polled: those of them that its epoll descriptors watch.
        in_select: whether its main thread waits in select; None where that can't be told.
    """

    connections: int
    polled: int = 0
    in_select: bool | None = None


class Work(NamedTuple):
    """What a worker is doing: requests in flight, and those it has accepted but has no thread for."""

    state: State
    in_flight: int
    queued: int


def judge(worker_class: str | None, threads: int | None, seen: Seen) -> Work:
    """Tell what a worker does.

    Args:
        worker_class: by its short name, None where unknown: each connection is work then.
        threads: requests it serves at once, None where that isn't known or not by threads.
        seen: what was seen of it.
    """
    accepted = seen.connections - (seen.polled if worker_class in POLLS_IDLE else 0)
    in_flight = accepted if threads is None or worker_class not in THREADED else min(accepted, threads)
    # A sync worker without connection that waits for none is starting, or works on after its answer.
    elsewhere = worker_class == "sync" and seen.in_select is False
    state = State.BUSY if accepted or elsewhere else State.IDLE
    return Work(state, in_flight, accepted - in_flight)
