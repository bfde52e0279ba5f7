"""The gunicorns that are set beside each other: bare, and with each way to measure its requests."""

from __future__ import annotations

import contextlib
import http.client
import importlib.metadata
import os
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.matrix.versions import environment, quiet_flags
from tests.support.live import BIN, ROOT, free_port, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

GUNICORN = importlib.metadata.version("gunicorn")
BARE = "bare"
AGAIN = "bare, a second time"
AGENT = "floodmark's agent"
CLIENT = "prometheus_client, multiprocess"
STATSD = "gunicorn's statsd"
PEER = "gunicorn-prometheus-exporter"
PEER_VERSION = "0.2.4"
OLD = "23.0.0"  # the newest gunicorn that PEER's master starts under
SILENT = 30.0  # seconds in which a gunicorn answers or has failed
STEADY = 3.0  # seconds after which one that could start has started

# What prometheus_client's documentation asks for.
MULTIPROCESS = """\
from prometheus_client import multiprocess

def child_exit(server, worker):
    multiprocess.mark_process_dead(worker.pid)
"""
# What PEER's README asks for.
_PEER = """\
from gunicorn_prometheus_exporter import hooks

on_starting, when_ready, post_fork = (
    hooks.default_on_starting, hooks.default_when_ready, hooks.default_post_fork)
worker_int, on_exit = hooks.default_worker_int, hooks.default_on_exit
"""


class NotStartedError(Exception):
    """A gunicorn doesn't start; the text is its last word."""


class Setup(NamedTuple):
    """One way to run the hello-world app; ``against`` names the bare one that it is compared with."""

    name: str
    against: str = BARE
    version: str = GUNICORN
    program: str = str(BIN / "gunicorn")
    target: str = "tests.bench.hello:app"
    flags: tuple[str, ...] = ()
    conf: str = ""
    # What it measures goes into a folder of its own: the variables that take it there.
    folders: tuple[str, ...] = ()
    # gunicorn's worker class -> its own
    workers: Mapping[str, str] = {}


class Running(NamedTuple):
    """A gunicorn that answers."""

    setup: Setup
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}/"

    def check(self) -> None:
        """Raise NotStartedError if it has died."""
        if self.process.poll() is not None:
            raise NotStartedError(self.log.read_text().strip().rpartition("\n")[2])

    def workers(self) -> list[int]:
        """Return the pids of its workers."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextlib.contextmanager
def memory_folder() -> Iterator[Path]:
    """Make a folder in memory if there is such a place: what a disk does is nobody's cost here."""
    shared = Path("/dev/shm")  # noqa: S108 - the kernel's; a folder of our own is made in it
    place = shared if os.access(shared, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="floodmark-bench-", dir=place) as name:
        yield Path(name)


@contextlib.contextmanager
def every(folder: Path) -> Iterator[tuple[list[Setup], list[str]]]:
    """Give every setup that runs here, the bare ones first, and remarks on those that don't."""
    with _drain() as statsd:
        setups = [
            Setup(BARE),
            Setup(
                AGENT,
                flags=("--logger-class", "floodmark.agent.Logger"),
                folders=("FLOODMARK_AGENT_DIR",),
            ),
            Setup(
                CLIENT,
                target="tests.bench.metered:app",
                conf=MULTIPROCESS,
                folders=("PROMETHEUS_MULTIPROC_DIR",),
            ),
            Setup(STATSD, flags=("--statsd-host", f"127.0.0.1:{statsd}")),
        ]
        remarks = []
        try:
            tried = _peer(GUNICORN, BARE)
            _check(tried, folder)
            setups.append(tried)
        except NotStartedError as error:
            bare = f"bare, gunicorn {OLD}"
            remarks.append(
                f"{PEER} {PEER_VERSION} dies at its start under gunicorn {GUNICORN} (`{error}`): "
                f"it runs under gunicorn {OLD} here, and is compared with that one bare."
            )
            old = _peer(OLD, bare)
            setups += [Setup(bare, bare, OLD, old.program), old]
        yield setups, remarks


def _check(setup: Setup, folder: Path) -> None:
    with running(setup, folder) as gunicorn:
        # Its worker may answer before its master comes to what breaks it.
        with contextlib.suppress(subprocess.TimeoutExpired):
            gunicorn.process.wait(STEADY)
        gunicorn.check()


def _peer(version: str, bare: str) -> Setup:
    programs = environment(
        f"{PEER}-{PEER_VERSION}-gunicorn-{version}",
        f"{PEER}=={PEER_VERSION}",
        f"gunicorn=={version}",
        f"prometheus-client=={importlib.metadata.version('prometheus-client')}",
    )
    return Setup(
        PEER,
        bare,
        version,
        str(programs / "gunicorn"),
        conf=_PEER,
        folders=("PROMETHEUS_MULTIPROC_DIR",),
        workers={
            "sync": "gunicorn_prometheus_exporter.PrometheusWorker",
            "gthread": "gunicorn_prometheus_exporter.PrometheusThreadWorker",
        },
    )


@contextlib.contextmanager
def running(  # noqa: PLR0913 - what the parts need of it
    setup: Setup,
    folder: Path,
    *flags: str,
    worker: str = "sync",
    conf: str = "",
    environ: Mapping[str, str] | None = None,
    control: tuple[int, ...] = (),
    cpu: int | None = None,
    answers: bool = True,
) -> Iterator[Running]:
    """Run a setup with one worker until it is left.

    Args:
        setup: which.
        folder: where its files go.
        flags: more of its flags.
        worker: gunicorn's name of the worker class.
        conf: more of its configuration file.
        environ: more of its environment.
        control: descriptors it inherits.
        cpu: the one it stays on.
        answers: wait until it answers.

    Raises:
        NotStartedError: it doesn't.
    """
    own = Path(tempfile.mkdtemp(dir=folder))
    (own / "conf.py").write_text(setup.conf + conf)
    for name in setup.folders:
        (own / name).mkdir()
    port, log = free_port(), own / "log"
    command = [
        *(("taskset", "-c", str(cpu)) if cpu is not None else ()),
        *(setup.program, setup.target, "-c", str(own / "conf.py"), "--name", f"bench-{port}"),
        *("--bind", f"127.0.0.1:{port}", "--worker-class", setup.workers.get(worker, worker)),
        *("--timeout", "60", "--graceful-timeout", "2"),
        *quiet_flags(setup.version),
        *setup.flags,
        *flags,
    ]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("FLOODMARK_")},
        **{name: str(own / name) for name in setup.folders},
        # PEER's, that nobody else reads
        "PROMETHEUS_METRICS_PORT": str(free_port()),
        "PROMETHEUS_BIND_ADDRESS": "127.0.0.1",
        "GUNICORN_WORKERS": "1",
        **(environ or {}),
    }
    with (
        log.open("wb") as file,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=file, pass_fds=control
        ) as process,
    ):
        started = Running(setup, process, port, log)
        try:
            if answers:
                until(lambda: process.poll() is not None or _answers(port), SILENT, f"{setup.name} answers")
            started.check()
            yield started
        finally:
            process.terminate()
            process.wait(20)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
        connection.request("GET", "/")
        return connection.getresponse().status == http.HTTPStatus.OK
    return False


@contextlib.contextmanager
def _drain() -> Iterator[int]:
    """Read what comes to a UDP port, and give the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.bind(("127.0.0.1", 0))

        def read() -> None:
            while ours.recv(4096) != b"enough":
                pass

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        port: int = ours.getsockname()[1]
        yield port
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"enough", ("127.0.0.1", port))
        reader.join(5)


def say(line: str) -> None:
    """Tell how far it is."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
