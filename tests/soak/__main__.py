"""Ten minutes of storm: requests, recycles and kills without pause, and nothing lost, doubled or grown.

A gunicorn with the agent, four gthread workers of 16 threads each, recycled after some hundred requests and
killed by SIGKILL at random; a floodmark that is scraped each second. At the end the sum of what was counted
is held against what the clients saw, and open files, threads, memory and disk against what they were once
warm. Exit 1 where something doesn't hold.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

from tests.support import storm
from tests.support.live import floodmark, gunicorn

if TYPE_CHECKING:
    from tests.support.live import Floodmark, Gunicorn

KILL_EVERY = 5.0  # seconds
WARM = 60.0  # seconds until things have their size, at most a third of the whole
SAID = 30.0  # seconds between lines of progress
MEMORY = 4 << 20  # bytes by which a process's memory may differ


class Sizes(NamedTuple):
    """What must not grow: open files, threads and bytes of master and exporter, and bytes of disk."""

    master_files: int
    master_threads: int
    master_memory: int
    exporter_files: int
    exporter_threads: int
    exporter_memory: int
    disk: int

    def grown_since(self, earlier: Sizes) -> list[str]:
        """Say what is more than it was."""
        slack = {name: MEMORY if name.endswith("memory") else 0 for name in self._fields}
        # A scrape that is answered, a fold that is going on: open at the moment of a look, no growth.
        slack |= {"master_files": 1, "exporter_files": 2, "exporter_threads": 1, "disk": 1 << 16}
        before, now = earlier._asdict(), self._asdict()
        return [
            f"{name} grew from {before[name]:,} to {now[name]:,}"
            for name in self._fields
            if now[name] > before[name] + slack[name]
        ]


def main() -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long at least (default: 10)")
    parser.add_argument("--requests", type=int, default=200_000, help="at least (default: 200000)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="floodmark-soak-") as folder:
        os.environ["FLOODMARK_AGENT_DIR"] = folder
        failures = _soak(Path(folder), arguments.minutes * 60, arguments.requests)
    for failure in failures:
        _say(f"FAILED: {failure}")
    _say("nothing lost, doubled or grown" if not failures else f"{len(failures)} failures")
    return 1 if failures else 0


def _soak(folder: Path, seconds: float, requests: int) -> list[str]:
    flags = ["--logger-class", "floodmark.agent.Logger", "--worker-class", "gthread", "--threads", "16"]
    flags += ["--max-requests", "500", "--max-requests-jitter", "100", "--timeout", "30"]
    failures: list[str] = []
    began, told, said = time.monotonic(), 0.0, 0.0
    sizes: list[Sizes] = []
    over = threading.Event()
    seen = storm.Seen()
    with gunicorn("soak", folder, *flags, workers=4) as running, floodmark(folder) as exporter:
        agent = storm.agent_folder(folder, running.name)
        storming = threading.Thread(
            target=storm.storm, args=(running, seen, sys.maxsize, KILL_EVERY, lambda: not over.is_set())
        )
        storming.start()
        try:
            while (passed := time.monotonic() - began) < seconds or told < requests:
                now = _told(exporter, running)
                failures += [f"the sum fell from {told:,.0f} to {now:,.0f}"] if now < told else []
                told = now
                if passed > min(WARM, seconds / 3):
                    sizes.append(_sizes(running, exporter, agent))
                if passed - said >= SAID:
                    said = passed
                    _say(f"{passed:4.0f} s: {told:,.0f} requests, {seen.kills} kills {sizes[-1:]}")
                time.sleep(1)
        finally:
            over.set()
            storming.join()
        storm.wait_settled(running, agent)
        counted, told = storm.counted(agent).total(), _told(exporter, running)
    answered = seen.answered.total()
    _say(f"{answered:,} answered, {seen.cut_off} cut off, {seen.kills} workers killed; {counted:,} counted")
    failures += [] if answered <= counted <= answered + seen.cut_off else ["the clients saw another sum"]
    failures += [] if told == counted else [f"the exporter tells {told:,.0f}"]
    looks = max(1, len(sizes) // 4)
    return failures + _median(sizes[-looks:]).grown_since(_median(sizes[:looks]))


def _median(sizes: list[Sizes]) -> Sizes:
    """Return the middle of some looks: other gunicorns of the host come and go in the exporter's."""
    return Sizes(*(int(statistics.median(values)) for values in zip(*sizes, strict=True)))


def _told(exporter: Floodmark, running: Gunicorn) -> float:
    return sum(exporter.values("gunicorn_requests_total", app=running.name).values())


def _sizes(running: Gunicorn, exporter: Floodmark, agent: Path) -> Sizes:
    master, own = psutil.Process(running.process.pid), psutil.Process(exporter.process.pid)
    return Sizes(
        master.num_fds(),
        master.num_threads(),
        master.memory_info().rss,
        own.num_fds(),
        own.num_threads(),
        own.memory_info().rss,
        storm.disk(agent),
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
