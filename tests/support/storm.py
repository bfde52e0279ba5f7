"""A storm of requests on a gunicorn whose workers are recycled and killed, and what clients saw of it."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import os
import random
import signal
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from floodmark.agent import ledger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from floodmark.agent.slab import Rows
    from tests.support.live import Gunicorn

CLIENTS = 8


@dataclasses.dataclass
class Seen:
    """What the clients saw.

    Attributes:
        answered: complete answers, by status.
        cut_off: requests that were sent and never answered whole: served or not, nobody knows.
        kills: workers that were killed meanwhile.
    """

    answered: Counter[int] = dataclasses.field(default_factory=Counter)
    cut_off: int = 0
    kills: int = 0


def storm(
    gunicorn: Gunicorn, seen: Seen, requests: int, kill_every: float, go_on: Callable[[], bool] = lambda: True
) -> None:
    """Send requests from some clients at once, over connections that are kept alive.

    Args:
        gunicorn: where to.
        seen: what the clients see is added to it.
        requests: how many in all, at most.
        kill_every: seconds between two kills of a random worker, on average.
        go_on: asked before each request.
    """
    lock, left = threading.Lock(), iter(range(requests))
    done = threading.Event()

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", gunicorn.port, timeout=30)
        while go_on():
            with lock:
                if next(left, None) is None:
                    break
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                with lock:
                    seen.cut_off += 1
            else:
                with lock:
                    seen.answered[answer.status] += 1
        connection.close()

    def killer() -> None:
        while not done.wait(random.uniform(0.5, 1.5) * kill_every):  # noqa: S311 - no secret
            with contextlib.suppress(ProcessLookupError, IndexError):
                os.kill(random.choice(gunicorn.workers()), signal.SIGKILL)  # noqa: S311 - no secret
                seen.kills += 1

    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    reaper = threading.Thread(target=killer)
    for thread in [*clients, reaper]:
        thread.start()
    for thread in clients:
        thread.join()
    done.set()
    reaper.join()


def counted(folder: Path) -> Counter[str]:
    """Return the requests that the agent counted, by status: the dead's and the living's."""
    total: Rows = {}
    living = dict(ledger.slabs(str(folder)))
    rows, folded = ledger.counts(str(folder))
    ledger.add(total, rows)
    for name, seen in living.items():
        if name not in folded:
            ledger.add(total, seen.rows())
    statuses: Counter[str] = Counter()
    for name, values in total.items():
        kind, _, rest = name.partition(" ")
        if kind == "request":
            statuses[rest.partition(" ")[2]] += int(sum(values[:-1]))
    return +statuses


def wait_counted(folder: Path, wanted: dict[str, int], seconds: float = 10) -> None:
    """Wait until that is counted: an answer is out a moment before."""
    deadline = time.monotonic() + seconds
    while counted(folder) != wanted:
        assert time.monotonic() < deadline, (counted(folder), wanted)
        time.sleep(0.05)


def agent_folder(base: Path, app: str) -> Path:
    """Return the folder of an app under FLOODMARK_AGENT_DIR."""
    return base / f"floodmark-{os.geteuid()}" / app


def disk(folder: Path) -> int:
    """Return the bytes of disk that an app's files take; one may vanish meanwhile."""
    total = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_blocks * 512
    return total


def settled(gunicorn: Gunicorn, folder: Path) -> bool:
    """Tell whether all dead are folded, as many live as shall, and all that is answered is counted."""
    slabs = dict(ledger.slabs(str(folder)))
    # An answer is out a moment before it is counted: until then the request is in flight.
    return {seen.worker().pid for seen in slabs.values()} == set(gunicorn.workers()) != set() and not any(
        seen.in_flight() for seen in slabs.values()
    )


def wait_settled(gunicorn: Gunicorn, folder: Path, seconds: float = 30) -> None:
    """Wait for that."""
    deadline = time.monotonic() + seconds
    while not settled(gunicorn, folder):
        assert time.monotonic() < deadline, sorted(path.name for path in folder.iterdir())
        time.sleep(0.1)
