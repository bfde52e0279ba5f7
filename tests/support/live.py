"""Real gunicorns and a real floodmark for the live tests."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.demo import memory_cgroup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
T = TypeVar("T")


def free_port() -> int:
    """Return a TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(find: Callable[[], T], seconds: float, what: str) -> T:
    """Return what ``find`` returns once it is true; fail with ``what`` after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := find():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:g} s: {what}")


@dataclass
class Gunicorn:
    """A running gunicorn with the killable app."""

    name: str
    port: int
    log: Path
    process: subprocess.Popen[bytes]

    def workers(self) -> list[int]:
        """Return the pids of its workers."""
        pid = self.process.pid
        try:
            return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except FileNotFoundError:
            return []

    def get(self, path: str, seconds: float = 20) -> None:
        """Send a request; that it isn't answered is no error here."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("GET", path)
            connection.getresponse().read()


@contextlib.contextmanager
def gunicorn(  # noqa: PLR0913 - what a test may want of a gunicorn
    name: str,
    folder: Path,
    *flags: str,
    workers: int = 2,
    enter: Callable[[list[str]], list[str]] = list,
    control: bool = False,
    target: str = "tests.support.killable:app",
) -> Iterator[Gunicorn]:
    """Run gunicorn with the killable app, and a timeout of 2 s unless flags say otherwise.

    Args:
        name: what its app label starts with.
        folder: where its log goes.
        flags: more of its flags.
        workers: how many; it is ready when all of them have started.
        enter: makes the command line that runs a command in a cgroup.
        control: leave it its control socket.
        target: another app.
    """
    port = free_port()
    name = f"{name}-{port}"  # another run's gunicorns on this host are seen too
    log = folder / f"{name}.log"
    command = [
        *(str(BIN / "gunicorn"), target, "--chdir", str(ROOT), "--name", name),
        *(
            "--bind",
            f"127.0.0.1:{port}",
            "--workers",
            str(workers),
            "--timeout",
            "2",
            "--graceful-timeout",
            "2",
        ),
        *("--error-logfile", str(log), *([] if control else ["--no-control-socket"]), *flags),
    ]
    with subprocess.Popen(enter(command)) as process:
        started = Gunicorn(name, port, log, process)
        try:
            until(lambda: log.exists() and log.read_text().count("Booting") >= workers, 20, f"{name} starts")
            yield started
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(20)


def to_master(*signals: signal.Signals, seconds: float = 5) -> Callable[[Gunicorn], None]:
    """Make what sends signals to a master, one after the other, and waits that it acts on each."""

    def send(app: Gunicorn) -> None:
        for each in signals:
            workers = app.workers()
            app.process.send_signal(each)
            until(lambda: app.workers() != workers, seconds, f"{app.name} acts on {each.name}")  # noqa: B023 - called here

    return send


def recycle(app: Gunicorn) -> None:
    """Send requests until a worker is another."""
    workers = app.workers()
    while app.workers() == workers:
        app.get("/")


@contextlib.contextmanager
def memory_limited(name: str, mebibytes: int) -> Iterator[memory_cgroup.MemoryCgroup]:
    """Make a memory cgroup of that name for the time of a test; skip the test where none may be made."""
    try:
        cgroup = memory_cgroup.make(f"floodmark-{name}-{os.getpid()}", mebibytes << 20)
    except memory_cgroup.NoCgroupError as error:
        pytest.skip(f"no memory cgroup may be made here: {error}")
    try:
        yield cgroup
    finally:
        cgroup.remove()


class Floodmark:
    """A running ``floodmark serve``."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    def lines(self) -> list[dict[str, str]]:
        """Return what it has logged."""
        complete = self._log.read_text().rpartition("\n")[0].splitlines()
        return [json.loads(line) for line in complete if line.startswith("{")]

    def ends(self, app: str) -> list[tuple[str, str]]:
        """Return cause and confidence of each worker of an app that ended."""
        ended = [line for line in self.lines() if line["msg"] == "worker ended" and line["app"] == app]
        return [(line["cause"], line["confidence"]) for line in ended]

    @property
    def port(self) -> int | None:
        """The port it serves on, None before it does."""
        serving = [line for line in self.lines() if line["msg"] == "serving"]
        return int(serving[-1]["listen"].rpartition(":")[2]) if serving else None

    def metrics(self) -> str:
        """Return its page."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()

    def values(self, name: str, **labels: str) -> dict[tuple[str, ...], float]:
        """Return the samples of a name that have these labels, by their other labels from A to Z."""
        return {
            tuple(sample.labels[key] for key in sorted(sample.labels.keys() - labels)): sample.value
            for family in text_string_to_metric_families(self.metrics())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        }

    def deaths(self) -> list[dict[str, Any]]:
        """Return the records that /deaths has, newest first."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/deaths")
            records: list[dict[str, Any]] = json.loads(connection.getresponse().read())["deaths"]
            return records

    def exits(self, app: str) -> dict[str, int]:
        """Return an app's exits by cause, those that happened."""
        exits = self.values("gunicorn_worker_exits_total", app=app)
        return {cause: int(count) for (cause,), count in exits.items() if count}


@contextlib.contextmanager
def floodmark(folder: Path, *flags: str, prefix: tuple[str, ...] = ()) -> Iterator[Floodmark]:
    """Run ``floodmark serve`` on a free port until it answers.

    Args:
        folder: where its log goes.
        flags: more of its flags.
        prefix: a command that runs it, like setpriv.
    """
    log = folder / f"floodmark-{time.monotonic_ns()}.log"
    command = [*prefix, str(BIN / "floodmark"), "serve", "--listen", "127.0.0.1:0", "--log-format", "json"]
    if "--statsd-listen" not in flags:
        command += ["--statsd-listen", ""]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FLOODMARK_")}
    with log.open("wb") as file, subprocess.Popen([*command, *flags], stderr=file, env=environ) as process:
        running = Floodmark(process, log)
        try:
            until(lambda: process.poll() is not None or running.port, 20, "floodmark serves")
            assert process.poll() is None, log.read_text()
            yield running
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(10)
