"""What dead processes cost an app with its own prometheus_client metrics, with and without floodmark."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from floodmark import exposition
from floodmark.multiproc import Folder
from tests.bench.page import Line, Section, table
from tests.bench.setups import say
from tests.support.multiproc import Process, collected, workers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HEADING = "Apps with their own prometheus_client metrics"
BUDGET = 0.1  # of what the library's scrape takes of the same folder as it was
SCRAPES = 5
DEAD = (0, 100, 1000, 2000)
LIVING = 4


class Scrapes(NamedTuple):
    """Median times in ms of a scrape of one folder, and what the folder takes on disk in MiB.

    ``library`` is prometheus_client's own collector, ``floodmark`` the page that the exporter serves.
    """

    dead: int
    library: float
    library_merged: float
    floodmark: float
    merge: float
    disk: float
    disk_merged: float


def measure() -> Section:
    """Measure a scrape of such a folder before and after dead processes' files are merged."""
    say("multiprocess: files of up to 2,000 dead workers")
    measured = scrapes()
    rows = [
        (
            f"{each.dead:,}",
            *(f"{value:.3g} ms" for value in (each.library, each.library_merged, each.floodmark, each.merge)),
            f"{each.disk:.3g} MiB",
            f"{each.disk_merged:.3g} MiB",
        )
        for each in measured
    ]
    heads = (
        "dead workers",
        "the library's scrape",
        "once merged",
        "floodmark's page",
        "one merge",
        "disk",
        "once merged",
    )
    last = measured[-1]
    what = f"the library's scrape after {last.dead:,} dead workers, merged, of unmerged"
    text = f"\nMedians of {SCRAPES} scrapes, {LIVING} live workers, files of every type and gauge mode.\n\n"
    return Section([Line(what, last.library_merged / last.library, BUDGET, "")], text + table(heads, rows))


def scrapes(dead: Sequence[int] = DEAD) -> list[Scrapes]:
    """Measure a folder of four workers after so many dead ones: as it is, and merged by floodmark."""
    measured = []
    for count in dead:
        with TemporaryDirectory() as name, ExitStack() as stack:
            path = Path(name)
            workers(path, count)
            for pid in range(LIVING):
                stack.enter_context(Process(path, count + 1 + pid)).work(1)
            folder = Folder(path)
            library, disk = _median(lambda path=path: collected(path)), _disk(path)  # type: ignore[misc]
            merge = _once(folder.merge)
            served = _median(lambda folder=folder: exposition.page(folder.families()))  # type: ignore[misc]
            merged = _median(lambda path=path: collected(path))  # type: ignore[misc]
            measured.append(Scrapes(count, library, merged, served, merge, disk, _disk(path)))
    return measured


def _median(work: Callable[[], object]) -> float:
    return statistics.median(_once(work) for _ in range(SCRAPES))


def _once(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def _disk(folder: Path) -> float:
    return sum(file.stat().st_blocks for file in folder.iterdir()) * 512 / (1 << 20)
