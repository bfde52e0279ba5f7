"""What floodmark costs beside an app: the real exporter over real gunicorn workers, against its budgets.

Beside it, in the same run and as their packages start them: node_exporter and process-exporter, which
together tell a part of the same. Other gunicorns of the machine are watched too: have none.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

from deploy.demo import servers
from tests.bench.page import Line, Section, table
from tests.bench.setups import say
from tests.support.live import floodmark, free_port, gunicorn, until

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADING = "The exporter beside its peers"
_TOLD = """\
In the same run, scraped in turns, as Debian ships them. node_exporter tells the host,
process-exporter the processes (each one's shared memory at every scrape); neither knows
gunicorn. The ratio is floodmark to the two together.
"""
FEW, MANY = 8, 128  # workers
SCRAPES = 60
IDLE = 15.0  # seconds of background CPU time
PEERS = {
    "node_exporter": ("prometheus-node-exporter",),
    "process-exporter": ("prometheus-process-exporter", "-procnames", "gunicorn"),
}


class Cost(NamedTuple):
    """What an exporter costs: scrape in ms and ms of CPU (medians), background CPU in % of a core, MiB."""

    scrape: float
    cpu: float
    background: float
    memory: float


class Exporter(NamedTuple):
    """A running exporter."""

    process: psutil.Process
    url: str

    def cpu(self) -> float:
        """Return the CPU time it has used, in seconds."""
        user, system, *_ = self.process.cpu_times()
        return float(user + system)

    def scrape(self) -> float:
        """Scrape once and return how long it took, in ms."""
        started = time.perf_counter()
        with urllib.request.urlopen(self.url, timeout=60) as answer:  # noqa: S310 - our own address
            answer.read()
        return 1000 * (time.perf_counter() - started)


def measure() -> Section:
    """Measure with few workers and with many."""
    few, many = beside(FEW), beside(MANY)
    ours, slower = few["floodmark"], many["floodmark"]
    lines = [
        Line(f"resident memory, {FEW} workers, all collectors", ours.memory, 32, "MiB"),
        Line(f"scrape, {FEW} workers, all collectors, median", ours.scrape, 10, "ms"),
        Line("scrape, for each further worker", (slower.scrape - ours.scrape) / (MANY - FEW), 0.3, "ms"),
        Line(f"background CPU, {FEW} workers", ours.background, 1, "% of a core"),
    ]
    rows = [row for workers, costs in ((FEW, few), (MANY, many)) for row in compare(workers, costs)]
    return Section(lines, f"\n{_TOLD}\n{table(('what', 'floodmark', *PEERS, 'ratio'), rows)}")


def beside(workers: int) -> dict[str, Cost]:
    """Return what each exporter costs over a gunicorn with so many workers."""
    say(f"exporter: {workers} workers")
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        # --preload: 128 workers would each import the app.
        flags = ("--preload", "--timeout", "60")
        app = stack.enter_context(gunicorn("bench", folder, *flags, workers=workers))
        watcher = stack.enter_context(floodmark(folder))
        assert len(watcher.values("gunicorn_worker_info", app=app.name)) == workers
        if others := sum(watcher.values("gunicorn_up").values()) - 1:
            say(f"{others:g} other gunicorns run here: their cost is in these numbers")
        exporters = {
            "floodmark": Exporter(
                psutil.Process(watcher.process.pid), f"http://127.0.0.1:{watcher.port}/metrics"
            )
        }
        exporters |= {each: stack.enter_context(peer(*command)) for each, command in PEERS.items()}
        before, started = {each: exporter.cpu() for each, exporter in exporters.items()}, time.monotonic()
        time.sleep(IDLE)
        passed = time.monotonic() - started
        background = {
            each: 100 * (exporter.cpu() - before[each]) / passed for each, exporter in exporters.items()
        }
        before = {each: exporter.cpu() for each, exporter in exporters.items()}
        # In turns: what else the machine does meets all of them alike.
        rounds = [{each: exporter.scrape() for each, exporter in exporters.items()} for _ in range(SCRAPES)]
        return {
            each: Cost(
                scrape=statistics.median(one[each] for one in rounds),
                cpu=1000 * (exporter.cpu() - before[each]) / SCRAPES,
                background=background[each],
                memory=exporter.process.memory_info().rss / 2**20,
            )
            for each, exporter in exporters.items()
        }


@contextlib.contextmanager
def peer(program: str, *flags: str) -> Iterator[Exporter]:
    """Run another exporter on a free port."""
    port = free_port()
    command = [str(servers.find(program)), *flags, f"--web.listen-address=127.0.0.1:{port}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: answers(port), 30, f"{program} serves")
            yield Exporter(psutil.Process(process.pid), f"http://127.0.0.1:{port}/metrics")
        finally:
            process.terminate()


def answers(port: int) -> bool:
    """Tell whether something listens there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def compare(workers: int, costs: dict[str, Cost]) -> Iterator[tuple[str, ...]]:
    """Yield the rows that set floodmark beside its peers."""
    kinds = {
        "scrape": ("scrape, median", "ms"),
        "cpu": ("CPU for a scrape", "ms"),
        "background": ("background CPU", "% of a core"),
        "memory": ("resident memory", "MiB"),
    }
    for field, (what, unit) in kinds.items():
        values = {name: getattr(cost, field) for name, cost in costs.items()}
        peers = sum(values[name] for name in PEERS)
        cells = (f"{values[name]:.3g} {unit}" for name in ("floodmark", *PEERS))
        # The peers do nothing between scrapes, and tell of nothing that happened there.
        ratio = "" if field == "background" else f"{values['floodmark'] / peers:.2f}"
        yield (f"{what}, {workers} workers", *cells, ratio)
