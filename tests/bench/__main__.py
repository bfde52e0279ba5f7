"""What floodmark costs beside an app: the real exporter over real gunicorn workers, against its budgets.

Prints a table and writes docs/benchmarks.md. Takes about a minute. Seconds and bytes are this machine's;
what counts is the share of the budget.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.support.live import ROOT, Floodmark, floodmark, gunicorn

PAGE = ROOT / "docs/benchmarks.md"
SCRAPES = 200
IDLE = 20.0  # seconds of background CPU time


class Line(NamedTuple):
    """One measured value against its budget, both in ``unit``."""

    what: str
    measured: float
    budget: float
    unit: str

    @property
    def share(self) -> float:
        """The share of the budget that is used."""
        return self.measured / self.budget


def main() -> int:
    """Measure, print, write; return 1 where a budget is exceeded."""
    argparse.ArgumentParser(prog="make bench", description=__doc__).parse_args()
    few, many = 8, 24
    memory, cpu, scrape = measure(few)
    _, _, slower = measure(many)
    lines = [
        Line(f"resident memory, {few} workers, all collectors", memory, 32, "MiB"),
        Line(f"scrape, {few} workers, all collectors, median", scrape, 10, "ms"),
        Line("scrape, for each further worker", (slower - scrape) / (many - few), 0.3, "ms"),
        Line(f"background CPU, {few} workers", cpu, 1, "% of a core"),
    ]
    page = render(lines)
    sys.stdout.write(page)
    PAGE.write_text(page)
    return int(any(line.share > 1 for line in lines))


def measure(workers: int) -> tuple[float, float, float]:
    """Return resident MiB after the scrapes, background CPU in % of a core, and a scrape's median in ms."""
    sys.stderr.write(f"measuring with {workers} workers\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with gunicorn("bench", folder, workers=workers) as app, floodmark(folder) as watcher:
            process = psutil.Process(watcher.process.pid)
            assert len(watcher.values("gunicorn_worker_info", app=app.name)) == workers
            before, started = sum(process.cpu_times()[:2]), time.monotonic()
            time.sleep(IDLE)
            cpu = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - started)
            milliseconds = statistics.median(scraped(watcher) for _ in range(SCRAPES))
            return process.memory_info().rss / 2**20, 100 * cpu, milliseconds


def scraped(watcher: Floodmark) -> float:
    """Scrape once and return how long it took, in ms."""
    started = time.perf_counter()
    watcher.metrics()
    return 1000 * (time.perf_counter() - started)


def render(lines: list[Line]) -> str:
    """Return the page."""
    rows = (
        f"| {line.what} | {line.measured:#.3g} {line.unit} | {line.budget:g} {line.unit} | {line.share:.0%} |"
        for line in lines
    )
    machine = (
        f"{os.cpu_count()} CPUs, Linux {platform.release().split('-')[0]}, Python {platform.python_version()}"
    )
    return "\n".join(
        (
            "# Benchmarks",
            "",
            "<!-- Written by: make bench -->",
            "",
            f"Measured by `make bench` on {machine}: real gunicorn workers, the real exporter.",
            "",
            "| what | measured | budget | share |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
