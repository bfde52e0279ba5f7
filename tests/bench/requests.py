"""What a request costs more with each way to measure it: CPU time of a real worker's handle_request."""

from __future__ import annotations

import contextlib
import socket
import statistics
from typing import TYPE_CHECKING

from tests.bench.page import Line, Section, table
from tests.bench.setups import AGAIN, AGENT, Running, Setup, every, memory_folder, running, say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEADING = "Added to a request"
BUDGET = 1.5  # µs

# Where a process's memory came to lie makes as much difference as what is measured: many processes.
GROUPS, TURNS, REQUESTS = 10, 8, 2000


def measure() -> Section:
    """Measure every setup against its bare one."""
    with memory_folder() as folder, every(folder) as (setups, remarks):
        setups.append(setups[0]._replace(name=AGAIN))
        turns: list[dict[str, float]] = []
        for group in range(GROUPS):
            say(f"requests: processes {group + 1} of {GROUPS}")
            turns += _group(setups, folder)
    added = {
        setup.name: [1e6 * (turn[setup.name] - turn[setup.against]) for turn in turns]
        for setup in setups
        if setup.name != setup.against
    }
    bare = {setup.against: 1e6 * statistics.median(turn[setup.against] for turn in turns) for setup in setups}
    agent = statistics.median(added[AGENT])
    rows = []
    for name, values in added.items():
        low, median, high = statistics.quantiles(values, n=4)
        ratio = "" if name in (AGENT, AGAIN) else f"{median / agent:.1f}"
        rows.append((name, f"{median:.2f} µs", f"{low:.2f} to {high:.2f} µs", ratio))
    told = (
        f"\nOf {len(turns)} turns of {REQUESTS} requests each, in {GROUPS} processes each. Without: "
        + ", ".join(f"{value:.1f} µs ({name})" for name, value in bare.items())
        + f". The row `{AGAIN}` is the same thing measured twice: what can't be told from nothing."
        "\nCPU time of gunicorn's own sync worker and its system calls, without accepting and parsing.\n"
    )
    heads = ("with", "added, median", "quartiles", "times the agent's")
    text = table(heads, rows) + told + "".join(f"\n{remark}\n" for remark in remarks)
    return Section([Line("added to a request by the agent, median", agent, BUDGET, "µs")], f"\n{text}")


def _group(setups: list[Setup], folder: Path) -> Iterator[dict[str, float]]:
    """Yield CPU seconds of a request by setup, for each turn with the same processes."""
    with contextlib.ExitStack() as stack:
        driven = {setup.name: stack.enter_context(_driven(setup, folder)) for setup in setups}
        for each in driven.values():
            _drive(each, REQUESTS)  # warm
        names = list(driven)
        for turn in range(TURNS):
            first = turn % len(names)
            yield {name: _drive(driven[name], REQUESTS) for name in (*names[first:], *names[:first])}


@contextlib.contextmanager
def _driven(setup: Setup, folder: Path) -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(60)
        handle = theirs.fileno()
        conf = "\nfrom tests.bench.drive import post_worker_init\n"
        environ = {"BENCH_CONTROL": str(handle)}
        started = running(setup, folder, conf=conf, environ=environ, control=(handle,), answers=False)
        with started as gunicorn:
            theirs.close()
            _ready(ours, gunicorn)
            yield ours
            gunicorn.process.terminate()  # before its worker finds that nobody drives it, and is replaced
            ours.close()


def _ready(control: socket.socket, gunicorn: Running) -> None:
    assert control.recv(16), gunicorn.log.read_text()


def _drive(control: socket.socket, requests: int) -> float:
    control.sendall(b"%d\n" % requests)
    answer = control.recv(64)
    assert answer.endswith(b"\n"), "a driven worker died"
    return float(answer) / requests
