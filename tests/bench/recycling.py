"""What recycled workers leave behind: scrape, disk and memory after many of them, with floodmark and without.

One gunicorn has both the agent and prometheus_client's multiprocess mode, so that the same workers die for
both.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

from tests.bench.page import Line, Section, table
from tests.bench.setups import AGENT, CLIENT, MULTIPROCESS, Running, Setup, memory_folder, running, say
from tests.support.live import ROOT, floodmark, free_port, until

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADING = "After recycling"
BUDGET = 1.1  # of none recycled
DISK = 64  # KiB for a live worker

WORKERS = 4
POINTS = (0, 100, 1000, 10_000)
LIMIT = 420.0  # seconds for all of them
SCRAPES, LEAST, PATIENCE = 60, 5, 40.0  # scrapes, how few are enough, and after how many seconds
LONG = 1.0  # seconds of a scrape that isn't repeated more often than it must be
_AGENTS = Path("/dev/shm")  # noqa: S108 - where the agent writes unless it is told otherwise

# A path that ends its worker the way max_requests does; and a master that takes no pause between two forks
# (gunicorn's is up to 0.1 s), for there isn't the time.
_CONF = """
import types
import gunicorn.arbiter

def pre_request(worker, request):
    if request.path == "/last":
        worker.max_requests = 0

gunicorn.arbiter.random = types.SimpleNamespace(random=lambda: 0.0)
"""


class State(NamedTuple):
    """Of an exporter: seconds of a scrape and of CPU time for it (medians), bytes on disk and resident."""

    scrape: float
    cpu: float
    disk: int
    memory: int

    def cells(self) -> tuple[str, ...]:
        """Return its cells of the table."""
        return (
            f"{1000 * self.scrape:.1f} ms",
            f"{1000 * self.cpu:.1f} ms",
            f"{self.disk / 1024:,.0f} KiB",
            f"{self.memory / 2**20:.1f} MiB",
        )


class Reader(NamedTuple):
    """An exporter, and the folder it reads."""

    pid: int
    url: str
    folder: Path

    def scrape(self) -> tuple[float, float, bytes]:
        """Scrape once; return seconds, seconds of CPU time, and the page."""
        clock = (~self.pid << 3) | 2  # of another process's CPU time: clock_getcpuclockid(3)
        before, started = time.clock_gettime(clock), time.perf_counter()
        with urllib.request.urlopen(self.url, timeout=120) as answer:  # noqa: S310 - our own address
            page: bytes = answer.read()
        return time.perf_counter() - started, time.clock_gettime(clock) - before, page


def measure() -> Section:
    """Recycle workers, and look at both exporters at each point."""
    setup = Setup(
        "recycled",
        target="tests.bench.metered:app",
        flags=("--logger-class", "floodmark.agent.Logger", "--preload", "--workers", str(WORKERS)),
        conf=MULTIPROCESS + _CONF,
        folders=("PROMETHEUS_MULTIPROC_DIR",),
    )
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(memory_folder())
        gunicorn = stack.enter_context(running(setup, folder))
        agents = _AGENTS / f"floodmark-{os.geteuid()}" / f"bench-{gunicorn.port}"
        stack.callback(shutil.rmtree, agents, ignore_errors=True)
        watcher = stack.enter_context(floodmark(folder))
        files = gunicorn.log.parent / "PROMETHEUS_MULTIPROC_DIR"
        readers = {
            AGENT: Reader(watcher.process.pid, f"http://127.0.0.1:{watcher.port}/metrics", agents),
            CLIENT: stack.enter_context(_served(files)),
        }
        states, ended, passed = {}, 0, 0.0
        for point in POINTS:
            say(f"recycling: {ended} to {point} workers")
            started = time.monotonic()
            ended += _recycle(gunicorn, point - ended, started + LIMIT - passed)
            passed += time.monotonic() - started
            _warm(gunicorn)
            states[ended] = _states(readers)
            if ended < point:
                break
    return _section(states, passed)


def _section(states: dict[int, dict[str, State]], passed: float) -> Section:
    last = max(states)
    none, most = states[0], states[last]
    ours, ours_then = none[AGENT], most[AGENT]
    lines = [
        Line(f"scrape after {last:,} recycled workers, of none", ours_then.cpu / ours.cpu, BUDGET, ""),
        Line(f"disk after {last:,} recycled workers, of none", ours_then.disk / ours.disk, BUDGET, ""),
        Line("disk for a live worker", ours_then.disk / 1024 / WORKERS, DISK, "KiB"),
    ]
    heads = ("exporter", "workers recycled", "scrape", "CPU for a scrape", "disk", "resident memory")
    rows = [(name, f"{point:,}", *each[name].cells()) for name in none for point, each in states.items()]
    told = (
        f"\n{WORKERS} live workers of one gunicorn with both, so that the same workers died for both: in "
        f"{passed:.0f} s, by the way\nthat max_requests takes. Medians; floodmark's page has all else that "
        "it knows of the host in it. The\nshare is of CPU time. Disk is what is allocated, here in memory.\n"
    )
    if last < POINTS[-1]:
        told += f"\nNot {POINTS[-1]:,}: this machine had recycled {last:,} after {LIMIT:g} s.\n"
    return Section(lines, f"\n{table(heads, rows)}{told}")


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[Reader]:
    """Serve what prometheus_client has written there."""
    port = free_port()
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    command = [sys.executable, "-m", "tests.bench.metered", str(port)]
    with subprocess.Popen(command, cwd=ROOT, env=environ) as process:
        reader = Reader(process.pid, f"http://127.0.0.1:{port}/metrics", folder)

        def answers() -> bool:
            with contextlib.suppress(OSError):
                return bool(reader.scrape())
            return False

        try:
            until(answers, 30, "prometheus_client serves")
            yield reader
        finally:
            process.terminate()


def _get(gunicorn: Running, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", gunicorn.port, timeout=20)
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read() != b""
    return False


def _recycle(gunicorn: Running, count: int, deadline: float) -> int:
    """End so many workers, each by an answered request; return how many were until the deadline."""
    ended = 0
    with ThreadPoolExecutor(WORKERS) as at_once:
        while ended < count and time.monotonic() < deadline:
            gunicorn.check()
            batch = min(100, count - ended)
            ended += sum(at_once.map(lambda _: _get(gunicorn, "/last"), range(batch)))
            if ended % 1000 == 0:
                say(f"recycling: {ended} of {count}")
    return ended


def _warm(gunicorn: Running) -> None:
    """Have every live worker answer."""
    until(lambda: len(gunicorn.workers()) == WORKERS, 30, "all workers live")
    with ThreadPoolExecutor(2 * WORKERS) as at_once:
        assert all(at_once.map(lambda _: _get(gunicorn, "/"), range(400)))


def _states(readers: dict[str, Reader]) -> dict[str, State]:
    """Scrape in turns; a scrape that saw another gunicorn of the host counts only if it must."""
    alone: dict[str, list[tuple[float, float]]] = {name: [] for name in readers}
    disturbed: dict[str, list[tuple[float, float]]] = {name: [] for name in readers}
    deadline = time.monotonic() + PATIENCE
    while len(alone[AGENT]) < SCRAPES and time.monotonic() < deadline:
        for name, reader in readers.items():
            # The peer's get long.
            if name == AGENT or len(alone[name]) < LEAST or alone[name][-1][0] < LONG:
                wall, cpu, page = reader.scrape()
                others = page.count(b"\ngunicorn_up{") > 1
                (disturbed if others else alone)[name].append((wall, cpu))
    if len(alone[AGENT]) < LEAST:
        say("other gunicorns run here: their cost is in these numbers")
    seen = {
        name: alone[name] if len(alone[name]) >= LEAST else alone[name] + disturbed[name] for name in readers
    }
    return {
        name: State(
            statistics.median(wall for wall, _ in values),
            statistics.median(cpu for _, cpu in values),
            sum(path.stat().st_blocks * 512 for path in reader.folder.rglob("*")),
            psutil.Process(reader.pid).memory_info().rss,
        )
        for (name, reader), values in zip(readers.items(), seen.values(), strict=True)
    }
