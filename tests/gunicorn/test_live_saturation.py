"""Real workers under known loads: what floodmark says of them against what the app itself wrote down."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.live import Floodmark, Gunicorn, floodmark, gunicorn, until

pytestmark = pytest.mark.live

WSGI, ASGI = "tests.support.loaded:app", "tests.support.loaded:asgi"
AGENT = "--logger-class=floodmark.agent.Logger"
LONG = ("--timeout", "60", "--graceful-timeout", "1")


class Load:
    """What the app says it works at, and the connections that keep it at work."""

    def __init__(self, started: Path, stack: contextlib.ExitStack) -> None:
        self._started, self._stack = started, stack

    @property
    def workers(self) -> list[int]:
        """The pid of the worker of each request in flight."""
        return [int(line) for line in self._started.read_text().split()]

    def connect(self, where: int | str) -> socket.socket:
        family = socket.AF_INET if isinstance(where, int) else socket.AF_UNIX
        connection = self._stack.enter_context(socket.socket(family))
        connection.settimeout(10)
        connection.connect(("127.0.0.1", where) if isinstance(where, int) else where)
        return connection

    def ask(self, where: int | str, path: str) -> socket.socket:
        connection = self.connect(where)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        return connection


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    started = tmp_path / "started"
    started.touch()
    monkeypatch.setenv("LOADED", str(started))
    with contextlib.ExitStack() as stack:
        yield Load(started, stack)


def states(watcher: Floodmark, app: Gunicorn) -> dict[str, float]:
    found = watcher.values("gunicorn_workers", app=app.name)
    return {state: count for (state,), count in found.items() if count}


def in_flight(watcher: Floodmark, app: Gunicorn) -> float | None:
    return watcher.values("gunicorn_requests_in_flight", app=app.name).get(())


def queued(watcher: Floodmark, app: Gunicorn) -> dict[str, float]:
    found = watcher.values("gunicorn_requests_queued", app=app.name)
    return {where: count for (where,), count in found.items()}


@pytest.mark.parametrize(
    ("target", "flags"),
    [
        pytest.param(WSGI, (), id="sync"),
        pytest.param(WSGI, ("--threads", "4"), id="gthread"),
        pytest.param(WSGI, ("-k", "gevent"), id="gevent"),
        pytest.param(ASGI, ("-k", "asgi"), id="asgi"),
        pytest.param(WSGI, (AGENT,), id="sync-agent"),
        pytest.param(WSGI, (AGENT, "--threads", "4"), id="gthread-agent"),
        pytest.param(WSGI, (AGENT, "-k", "gevent"), id="gevent-agent"),
        pytest.param(ASGI, (AGENT, "-k", "asgi"), id="asgi-agent"),
    ],
)
@pytest.mark.parametrize("path", ["/receive", "/compute", "/lock"])
def test_busy_workers_and_requests_in_flight_are_those_the_app_tells(
    tmp_path: Path, load: Load, target: str, flags: tuple[str, ...], path: str
) -> None:
    """Waiting for a socket, computing, waiting for a lock: CPU time would call two of them idle."""
    with (
        gunicorn("load", tmp_path, *flags, *LONG, workers=3, target=target) as app,
        floodmark(tmp_path) as watcher,
    ):
        until(lambda: states(watcher, app) == {"idle": 3}, 10, "all are idle before")
        assert in_flight(watcher, app) == 0
        for number in (1, 2):
            load.ask(app.port, path)
            until(lambda: len(load.workers) == number, 10, f"{number} at work")  # noqa: B023 - called here
        busy = len(set(load.workers))
        assert states(watcher, app) == {"busy": busy, "idle": 3 - busy}
        assert in_flight(watcher, app) == 2
        assert queued(watcher, app)["listen"] == 0


def test_a_connection_kept_open_between_requests_keeps_no_gthread_worker_busy(
    tmp_path: Path, load: Load
) -> None:
    with (
        gunicorn("alive", tmp_path, "--threads", "4", "--keep-alive", "60", *LONG, target=WSGI) as app,
        floodmark(tmp_path) as watcher,
    ):
        for _ in range(3):
            assert load.ask(app.port, "/").recv(100).startswith(b"HTTP/1.1 200")
        until(lambda: states(watcher, app) == {"idle": 2}, 10, "all are idle")
        assert in_flight(watcher, app) == 0


@pytest.mark.parametrize(
    ("target", "flags"),
    [
        pytest.param(WSGI, ("--threads", "4"), id="gthread"),
        pytest.param(WSGI, ("-k", "gevent"), id="gevent"),
        pytest.param(ASGI, ("-k", "asgi"), id="asgi"),
    ],
)
def test_a_connection_kept_open_between_requests_keeps_no_worker_with_an_agent_busy(
    tmp_path: Path, load: Load, target: str, flags: tuple[str, ...]
) -> None:
    """From outside nobody can tell a gevent or ASGI worker's idle connection from a request."""
    with (
        gunicorn("alive", tmp_path, AGENT, *flags, "--keep-alive", "60", *LONG, target=target) as app,
        floodmark(tmp_path) as watcher,
    ):
        for _ in range(3):
            assert load.ask(app.port, "/").recv(100).startswith(b"HTTP/1.1 200")
        load.ask(app.port, "/receive")
        until(lambda: load.workers, 10, "one is at work")
        assert in_flight(watcher, app) == 1
        assert states(watcher, app) == {"idle": 1, "busy": 1}


@pytest.mark.parametrize("agent", [(), (AGENT,)], ids=["outside", "agent"])
def test_requests_that_wait_inside_a_gthread_worker_are_told_though_the_kernels_backlog_is_empty(
    tmp_path: Path, load: Load, agent: tuple[str, ...]
) -> None:
    with (
        gunicorn("hidden", tmp_path, *agent, "--threads", "2", *LONG, workers=1, target=WSGI) as app,
        floodmark(tmp_path) as watcher,
    ):
        for _ in range(10):
            load.ask(app.port, "/receive")
        until(lambda: queued(watcher, app) == {"listen": 0, "worker": 8}, 10, "8 of 10 wait in the worker")
        assert in_flight(watcher, app) == 2
        assert len(load.workers) == 2


def test_the_backlog_of_a_tcp_and_of_a_unix_socket_is_what_waits_there(tmp_path: Path, load: Load) -> None:
    path = f"{tmp_path}/shop.sock"
    with (
        gunicorn(
            "backlog", tmp_path, "--bind", f"unix:{path}", "--backlog", "64", *LONG, workers=1, target=WSGI
        ) as app,
        floodmark(tmp_path) as watcher,
    ):
        until(lambda: states(watcher, app) == {"idle": 1}, 10, "the worker is idle before")
        load.ask(path, "/receive")
        until(lambda: load.workers, 10, "the worker is at work")
        for _ in range(5):
            load.connect(app.port)
        for _ in range(3):
            load.connect(path)
        backlog = {(f"127.0.0.1:{app.port}",): 5, (f"unix:{path}",): 3}
        assert watcher.values("gunicorn_listen_backlog", app=app.name) == backlog
        limits = watcher.values("gunicorn_listen_backlog_limit", app=app.name)
        assert limits == dict.fromkeys(backlog, 64)
        assert queued(watcher, app) == {"listen": 8}
        assert states(watcher, app) == {"busy": 1}


# Opens some connections to a port and holds them.
HOLD = "import socket,sys,time; c=[socket.create_connection(('127.0.0.1',{0})) for _ in range({1})]; print(flush=True); time.sleep(60)"  # noqa: E501 - a program


def test_in_another_network_namespace_backlogs_and_workers_are_told_too(tmp_path: Path, load: Load) -> None:
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("only root can make a network namespace, and ip(8) set up its loopback")
    path = f"{tmp_path}/shop.sock"

    def apart(command: list[str]) -> list[str]:
        return ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]

    with (
        gunicorn(
            "apart", tmp_path, "--bind", f"unix:{path}", *LONG, workers=1, enter=apart, target=WSGI
        ) as app,
        floodmark(tmp_path) as watcher,
    ):
        load.ask(path, "/receive")
        until(lambda: load.workers, 10, "the worker is at work")
        load.connect(path)
        inside = ["nsenter", "--net", "--target", str(app.process.pid), sys.executable, "-c"]
        with subprocess.Popen([*inside, HOLD.format(app.port, 4)], stdout=subprocess.PIPE) as holder:
            assert holder.stdout
            holder.stdout.readline()
            try:
                assert watcher.values("gunicorn_listen_backlog", app=app.name) == {
                    (f"127.0.0.1:{app.port}",): 4,
                    (f"unix:{path}",): 1,
                }
                assert states(watcher, app) == {"busy": 1}
            finally:
                holder.kill()


def test_without_the_right_to_look_workers_are_unknown_and_the_backlog_is_told_by_the_bound_address(
    tmp_path: Path, load: Load
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can run a gunicorn that floodmark has no right to look into")
    with (
        gunicorn("walled", tmp_path, *LONG, workers=1, target=WSGI) as app,
        floodmark(tmp_path, prefix=("setpriv", "--bounding-set", "-all")) as watcher,
    ):
        load.ask(app.port, "/receive")
        until(lambda: load.workers, 10, "the worker is at work")
        load.connect(app.port)
        assert states(watcher, app) == {"unknown": 1}
        assert in_flight(watcher, app) is None
        assert watcher.values("gunicorn_listen_backlog", app=app.name) == {(f"127.0.0.1:{app.port}",): 1}
        said = [line for line in watcher.lines() if line.get("source") == "busy" and line["app"] == app.name]
        assert len(said) == 1
        assert "CAP_SYS_PTRACE" in said[0]["grant"]
