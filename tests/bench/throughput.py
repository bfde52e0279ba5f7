"""How many requests a second one worker answers with each way to measure them, against bare: wrk counts."""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from deploy.demo import servers
from tests.bench.page import Line, Section, table
from tests.bench.setups import AGAIN, AGENT, Running, Setup, every, memory_folder, running, say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEADING = "Throughput"
BUDGET = 0.97  # of bare

CLASSES = {"sync": (), "gthread": ("--threads", "4")}
GROUPS, ROUNDS, SECONDS, CONNECTIONS = 6, 4, 2, 8


class Load(NamedTuple):
    """What a worker did under wrk: requests answered, its seconds of CPU time, requests a second."""

    requests: int
    cpu: float
    rate: float

    def against(self, bare: Load) -> float:
        """Return the ratio to another's requests for each second of CPU time."""
        return (self.requests / self.cpu) / (bare.requests / bare.cpu)


def measure() -> Section:
    """Measure every setup, all at once, for each worker class."""
    lines, texts = [], []
    with memory_folder() as folder, _cores() as (ours, theirs), every(folder) as (setups, remarks):
        setups.append(setups[0]._replace(name=AGAIN))
        for worker, flags in CLASSES.items():
            rounds: list[dict[str, Load]] = []
            for group in range(GROUPS):
                say(f"throughput: {worker}, processes {group + 1} of {GROUPS}")
                rounds += _group(setups, folder, theirs, worker, *flags)
            rows = []
            for setup in setups:
                pairs = [(each[setup.name], each[setup.against]) for each in rounds]
                rate = statistics.median(load.requests / load.cpu for load, _ in pairs)
                row = [setup.name, f"{rate:.0f}"]
                if setup.name == setup.against:
                    rows.append([*row, "", "", ""])
                    continue
                low, ratio, high = statistics.quantiles((each.against(bare) for each, bare in pairs), n=4)
                wall = statistics.median(each.rate / bare.rate for each, bare in pairs)
                rows.append([*row, f"{ratio:.3f}", f"{low:.3f} to {high:.3f}", f"{wall:.3f}"])
                if setup.name == AGENT:
                    lines.append(
                        Line(f"{worker}: requests/s with the agent, of bare", ratio, BUDGET, "", True)
                    )
            heads = (
                worker,
                "requests/s of a core",
                "of bare, median",
                "quartiles",
                "of bare, by the wall's clock",
            )
            texts.append(table(heads, rows))
    cores = "a core of their own" if ours != theirs else "the one core that is here"
    told = (
        f"One worker each, all at once on {cores}, each under a wrk with {CONNECTIONS} connections: the kernel "
        "gives them\nturns of milliseconds, so that neighbours disturb all alike. Requests for each second that the "
        f"worker computes,\nof {len(rounds)} rounds of {SECONDS} s in {GROUPS} processes each, in pairs with bare in "
        f"the same round. By the wall's clock\nthe share that each got of the core is in it. `{AGAIN}` is the same "
        "thing measured twice: what this\nbenchmark can't tell from nothing.\n"
    )
    return Section(lines, "\n" + "\n".join((*texts, told, *(f"{remark}\n" for remark in remarks))))


def _group(
    setups: list[Setup], folder: Path, cpu: int, worker: str, *flags: str
) -> Iterator[dict[str, Load]]:
    """Yield what each did, for each round with the same processes."""
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(len(setups)) as at_once:
        gunicorns = [
            stack.enter_context(running(setup, folder, *flags, worker=worker, cpu=cpu)) for setup in setups
        ]
        for number in range(1 + ROUNDS):
            loads = list(at_once.map(_load, gunicorns))
            if number:  # the first one warms
                yield {setup.name: load for setup, load in zip(setups, loads, strict=True)}


def _load(gunicorn: Running) -> Load:
    command = [str(servers.find("wrk")), "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", gunicorn.url]
    # The kernel's clock of another process's CPU time, in ns: clock_getcpuclockid(3).
    clock = (~gunicorn.worker() << 3) | 2
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
