"""How many requests a second one worker answers with each way to measure them, against bare: wrk counts."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from tests.bench.page import Line, Section, table
from tests.bench.setups import AGAIN, AGENT, Running, Setup, every, memory_folder, running, say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEADING = "Throughput"
BUDGET = 0.97  # of bare

CLASSES = {"sync": (), "gthread": ("--threads", "4")}
GROUPS, ROUNDS, SECONDS, CONNECTIONS = 4, 3, 1, 8
_HEADS = ("requests/s of a core", "bare", "of bare, median", "quartiles", "by the wall's clock")
_TOLD = f"""\
A worker and its bare one at the same time on {{cores}}, each under a wrk with
{CONNECTIONS} connections: the kernel gives them turns of milliseconds, so that neighbours disturb both alike.
Requests for each second that a worker computed, of {{rounds}} rounds of {SECONDS} s in {GROUPS} processes.
By the wall's clock the share that each got of the core is in it too. `{AGAIN}` is the same thing
measured twice: what this benchmark can't tell from nothing.
"""


class Load(NamedTuple):
    """What a worker did under wrk: requests answered, its seconds of CPU time, requests a second."""

    requests: int
    cpu: float
    rate: float

    @property
    def of_a_core(self) -> float:
        """Requests for each second of CPU time."""
        return self.requests / self.cpu

    def against(self, bare: Load) -> float:
        """Return the ratio to another's requests for each second of CPU time."""
        return self.of_a_core / bare.of_a_core


def measure() -> Section:
    """Measure every setup beside its bare one, for each worker class."""
    if not shutil.which("wrk"):
        raise SystemExit("the throughput needs wrk. Type: sudo apt-get install wrk")
    lines, texts = [], []
    with memory_folder() as folder, _cores() as (ours, theirs), every(folder) as (setups, remarks):
        setups.append(setups[0]._replace(name=AGAIN))
        known = {setup.name: setup for setup in setups}
        for worker, flags in CLASSES.items():
            rows = []
            pairs: dict[str, list[tuple[Load, Load]]] = {
                setup.name: [] for setup in setups if setup.name != setup.against
            }
            for group in range(GROUPS):
                say(f"throughput: {worker}, processes {group + 1} of {GROUPS}")
                order = 1 if group % 2 else -1  # which of a pair starts first
                for name, found in pairs.items():
                    pair = (known[name], known[known[name].against])
                    found.extend(_together(pair, order, folder, theirs, worker, *flags))
            for name, found in pairs.items():
                low, ratio, high = statistics.quantiles((each.against(other) for each, other in found), n=4)
                wall = statistics.median(each.rate / other.rate for each, other in found)
                rates = [
                    f"{statistics.median(load.of_a_core for load in loads):.0f}"
                    for loads in zip(*found, strict=True)
                ]
                rows.append([name, *rates, f"{ratio:.3f}", f"{low:.3f} to {high:.3f}", f"{wall:.3f}"])
                if name == AGENT:
                    what = f"{worker}: requests/s with the agent, of bare"
                    lines.append(Line(what, ratio, BUDGET, "", at_least=True))
            texts.append(table((worker, *_HEADS), rows))
    told = _TOLD.format(
        cores="a core of their own" if ours != theirs else "the one core that is here",
        rounds=GROUPS * ROUNDS,
    )
    return Section(lines, "\n" + "\n".join((*texts, told, *(f"{remark}\n" for remark in remarks))))


def _together(
    pair: tuple[Setup, Setup],
    order: int,
    folder: Path,
    cpu: int,
    worker: str,
    *flags: str,
) -> Iterator[tuple[Load, Load]]:
    """Yield what two did at the same time, for each round with the same processes."""
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(2) as at_once:
        gunicorns = [
            stack.enter_context(running(setup, folder, *flags, worker=worker, cpu=cpu))
            for setup in pair[::order]
        ]
        for number in range(1 + ROUNDS):
            first, second = list(at_once.map(_load, gunicorns))[::order]
            if number:  # the first one warms
                yield first, second


def _load(gunicorn: Running) -> Load:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", gunicorn.url]
    # The kernel's clock of another process's CPU time, in ns: clock_getcpuclockid(3).
    (worker,) = gunicorn.workers()
    clock = (~worker << 3) | 2
    before = time.clock_gettime(clock)
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    spent = time.clock_gettime(clock) - before
    assert "Non-2xx" not in told, told
    count, rate = (re.search(pattern, told) for pattern in (r"(\d+) requests in", r"Requests/sec: +([\d.]+)"))
    assert count, told
    assert rate, told
    return Load(int(count[1]), spent, float(rate[1]))


@contextlib.contextmanager
def _cores() -> Iterator[tuple[int, int]]:
    """Stay on one core, with all that is started from here, and give another."""
    allowed = os.sched_getaffinity(0)
    ours, theirs = max(allowed), min(allowed)
    os.sched_setaffinity(0, {ours})
    try:
        yield ours, theirs
    finally:
        os.sched_setaffinity(0, allowed)
