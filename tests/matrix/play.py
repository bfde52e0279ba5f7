"""Plays cells of the matrix: gunicorns side by side, killed at once, a floodmark of each view watching."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from deploy.demo import memory_cgroup
from floodmark.agent import ledger
from tests.matrix import versions
from tests.matrix.deaths import CLASSES, DEATHS, broken
from tests.support.live import ROOT, Gunicorn, floodmark, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.live import Floodmark

# What each view's floodmark is run by. Gunicorn has all of root's rights, so one without any looks at
# another user's processes. Without these two rights the kernel's log is closed.
VIEWS = {
    "root, all sources": (),
    "another user, gunicorn's log readable": ("setpriv", "--bounding-set", "-all"),
    "neither gunicorn's log nor the kernel's": ("setpriv", "--bounding-set", "-syslog,-sys_admin"),
    "another user, neither log": ("setpriv", "--bounding-set", "-all"),
    "another user, neither log, but the agent": ("setpriv", "--bounding-set", "-all"),
}
ALL_SOURCES = "root, all sources"
# The views to which gunicorn's log is closed.
_NO_LOG = frozenset(tuple(VIEWS)[2:])
# The view of gunicorns that have the agent: each way to die is played with it and without.
WITH_AGENT = "another user, neither log, but the agent"
_AGENT = ("--logger-class", "floodmark.agent.Logger")

MISSED, INVENTED = "not seen", "nothing ended"
_OOM_LIMIT = 160 << 20
_LISTENING = re.compile(r"Listening at: http://127\.0\.0\.1:(\d+)")
_LATE = 2.5  # seconds: longer than a verdict waits, one too many would show by then


class Cell(NamedTuple):
    """One death of one worker class under one version of gunicorn."""

    version: str
    worker_class: str
    death: str


class Judged(NamedTuple):
    """What one view said of one end; ``truth`` in words, ``cause`` is the true one."""

    cell: Cell
    view: str
    truth: str
    cause: str
    verdict: str
    confidence: str
    evidence: str

    @property
    def right(self) -> bool:
        """Whether the verdict is the truth."""
        return self.verdict == self.cause


def cells() -> Iterator[Cell]:
    """Yield the whole matrix."""
    for version in versions.VERSIONS:
        for worker_class in CLASSES:
            for name, death in DEATHS.items():
                if worker_class in death.classes:
                    yield Cell(version, worker_class, name)


def part() -> list[Cell]:
    """Return a part of the matrix that has each death, each class and each version more than once."""
    chosen: dict[Cell, None] = {}
    for number, (name, death) in enumerate(DEATHS.items()):
        for shift in range(2):
            version = tuple(versions.VERSIONS)[(number + 2 * shift) % len(versions.VERSIONS)]
            worker_class = death.classes[(number + shift) % len(death.classes)]
            chosen[Cell(version, worker_class, name)] = None
    return list(chosen)


def wrong(judged: Sequence[Judged]) -> list[Judged]:
    """Return what may not be: false but called confirmed; missed; invented; with all sources not right."""
    return [
        each
        for each in judged
        if not each.right
        and (each.view == ALL_SOURCES or each.confidence == "confirmed" or MISSED in each or INVENTED in each)
    ]


def play(wanted: Sequence[Cell]) -> list[Judged]:
    """Let workers die in all these ways side by side, and return what each view said of them."""
    # One after the other: twice as many at once would starve the floodmarks that watch them.
    return [judged for agent in (False, True) for judged in _play(wanted, agent=agent)]


def _play(wanted: Sequence[Cell], *, agent: bool) -> list[Judged]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)  # another user reads the logs
        pool = stack.enter_context(ThreadPoolExecutor(len(wanted)))
        apps = {cell: stack.enter_context(_started(cell, folder, agent=agent)) for cell in wanted}
        list(pool.map(_ready, apps.values()))
        unreadable = folder / "no-log.yml"
        unreadable.write_text(
            "apps:\n" + "".join(f"  {app.name}: {{log: /nonexistent}}\n" for app in apps.values())
        )
        watchers = {
            view: stack.enter_context(
                floodmark(folder, *(("--config", str(unreadable)) if view in _NO_LOG else ()), prefix=prefix)
            )
            for view, prefix in VIEWS.items()
            if (view == WITH_AGENT) is agent
        }
        list(pool.map(lambda pair: DEATHS[pair[0].death].kill(pair[1]), apps.items()))
        _wait(apps, watchers)
        return [
            judged
            for cell, app in apps.items()
            for view, watcher in watchers.items()
            for judged in _compared(cell, view, watcher, app)
        ]


@contextlib.contextmanager
def _started(cell: Cell, folder: Path, *, agent: bool) -> Iterator[Gunicorn]:
    death = DEATHS[cell.death]
    name = f"{cell.death}-{cell.worker_class}-{cell.version}-{'agent-' * agent}{os.getpid()}"
    log = folder / f"{name}.log"
    command = [
        *(versions.program(cell.version), *_app(cell), "--chdir", str(ROOT), "--name", name),
        *("--bind", "127.0.0.1:0", "--timeout", "60", "--graceful-timeout", "20"),
        *("--error-logfile", str(log), *versions.quiet_flags(cell.version), *death.flags),
        *(_AGENT if agent else ()),
    ]
    with contextlib.ExitStack() as stack:
        if death.cgroup:
            cgroup = memory_cgroup.make(f"floodmark-{name}", _OOM_LIMIT)
            stack.callback(cgroup.remove)
            command = cgroup.entering(command)
        if agent:
            # Where it is looked for: which folder the app was told, this view's floodmark can't see.
            counts = ledger.folder_of("/dev/shm", name)  # noqa: S108 - as above
            stack.callback(until, lambda: _removed(counts), 20, f"{counts} is removed")
        app = Gunicorn(name, 0, log, _run(command, log))
        stack.callback(_stop, app)
        yield app


def _removed(folder: str) -> bool:
    # A worker whose master was just killed has a last word in there.
    shutil.rmtree(folder, ignore_errors=True)
    return not Path(folder).exists()


def _app(cell: Cell) -> tuple[str, ...]:
    target = "tests.support.killable:app"
    match cell.worker_class:
        case "gthread":
            return (target, "--worker-class", "gthread", "--threads", "2")
        case "asgi":
            return ("tests.support.killable:asgi", "--worker-class", versions.asgi_worker(cell.version))
        case name:
            return (target, "--worker-class", name)


def _run(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    environ = os.environ | {"KILLABLE_BROKEN": str(broken(log)), "PYTHONPATH": str(ROOT / "exporter")}
    with log.with_suffix(".out").open("wb") as out:
        return subprocess.Popen(command, env=environ, stdout=out, stderr=out)


def _stop(app: Gunicorn) -> None:
    with contextlib.suppress(ProcessLookupError):
        for pid in (*app.workers(), app.process.pid):
            os.kill(pid, signal.SIGKILL)
    app.process.wait()


def _ready(app: Gunicorn) -> None:
    """Wait until its worker answers: before, it doesn't hear signals."""
    # With hundreds of them a port that was free a moment ago would now and then be another's: they choose.
    output = app.log.with_suffix(".out")
    try:
        until(app.log.exists, 60, f"{app.name} starts")
        listening = until(
            lambda: _LISTENING.findall(app.log.read_text()) or _ended(app), 60, f"{app.name} listens"
        )
        app.port = int(listening[0])
        until(app.workers, 60, f"{app.name} has a worker")
    except AssertionError as error:
        error.add_note(output.read_text())
        raise
    app.get("/", seconds=60)


def _ended(app: Gunicorn) -> list[str]:
    assert app.process.poll() is None, f"{app.name} ended"
    return []


def _wait(apps: dict[Cell, Gunicorn], watchers: dict[str, Floodmark]) -> None:
    def all_told() -> bool:
        told = [Counter(line["app"] for line in _ends(watcher)) for watcher in watchers.values()]
        return all(
            count[app.name] >= len(DEATHS[cell.death].ends) for cell, app in apps.items() for count in told
        )

    with contextlib.suppress(AssertionError):  # an end that isn't seen is in the matrix as such
        until(all_told, 30, "all ends are judged")
    time.sleep(_LATE)


def _ends(watcher: Floodmark) -> list[dict[str, str]]:
    return [line for line in watcher.lines() if line["msg"] == "worker ended"]


def _compared(cell: Cell, view: str, watcher: Floodmark, app: Gunicorn) -> Iterator[Judged]:
    """Pair each true end with a verdict: with the right one, else with one that is left over."""
    ends = [line for line in _ends(watcher) if line["app"] == app.name]
    unpaired = []
    for truth, cause in DEATHS[cell.death].ends:
        if right := next((line for line in ends if line["cause"] == cause), None):
            ends.remove(right)
            yield _judged(cell, view, (truth, cause), right)
        else:
            unpaired.append((truth, cause))
    for end in unpaired:
        yield _judged(cell, view, end, ends.pop(0) if ends else None)
    for line in ends:
        yield _judged(cell, view, (INVENTED, ""), line)


def _judged(cell: Cell, view: str, end: tuple[str, str], line: dict[str, str] | None) -> Judged:
    if line is None:
        return Judged(cell, view, *end, MISSED, "", "")
    return Judged(cell, view, *end, line["cause"], line["confidence"], line["evidence"])
