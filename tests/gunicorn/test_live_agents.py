"""Real gunicorns with the agent: what floodmark adds up against what their clients saw."""

import contextlib
import http.client
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from floodmark.sources.statsd import LARGEST, listen_udp
from tests.support.live import Floodmark, Gunicorn, floodmark, free_port, gunicorn, until

pytestmark = pytest.mark.live

AGENT = "--logger-class=floodmark.agent.Logger"
USER = 4242
# Another user, who may read Python's installation wherever that is.
AS_USER = [
    *("setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups"),
    *("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"),
]


def as_user(command: list[str]) -> list[str]:
    return [*AS_USER, *command]


@pytest.fixture
def of_user(tmp_path: Path) -> Iterator[Path]:
    """A folder of another user's; what its agent leaves in /dev/shm is removed after the test."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("only root can run a gunicorn as another user, with setpriv(1)")
    folder = tmp_path / "of-user"
    folder.mkdir()
    os.chown(folder, USER, USER)
    yield folder
    shutil.rmtree(f"/dev/shm/floodmark-{USER}", ignore_errors=True)  # noqa: S108 - the agent's own place


def counts(watcher: Floodmark, app: Gunicorn) -> dict[str, float]:
    found: dict[str, float] = {}
    for (_, status), count in watcher.values("gunicorn_requests_total", app=app.name).items():
        found[status] = found.get(status, 0) + count
    return found


class Clients:
    """Ask in several threads until they are told to stop, and count what was answered."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = threading.Event()
        self.answered = self.failed = 0
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask) for _ in range(3)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._stop.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
            with contextlib.closing(connection):
                try:
                    connection.request("GET", "/")
                    good = connection.getresponse().read() == b"ok\n"
                except (OSError, http.client.HTTPException):
                    good = False
            with self._lock:
                self.answered += good
                self.failed += not good


@pytest.mark.parametrize("flags", [(), ("--threads", "4")], ids=["sync", "gthread"])
def test_through_recycles_and_kills_the_sum_is_what_clients_saw_and_never_steps_back(
    tmp_path: Path, of_user: Path, flags: tuple[str, ...]
) -> None:
    recycling = ("--max-requests", "60", "--max-requests-jitter", "20")
    chance = random.Random(7)  # noqa: S311 - whom to kill
    seen: list[float] = []
    with (
        floodmark(tmp_path) as watcher,
        gunicorn("sum", of_user, AGENT, *flags, *recycling, workers=3, enter=as_user) as app,
    ):
        with Clients(app.port) as clients:
            until(lambda: clients.answered > 50, 20, "clients are answered")
            for _ in range(6):
                if workers := app.workers():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(chance.choice(workers), signal.SIGKILL)
                asked = clients.answered
                until(lambda: clients.answered > asked + 50, 20, "they are answered on")  # noqa: B023 - called here
                seen.append(sum(counts(watcher, app).values()))
        until(lambda: len(app.workers()) == 3, 10, "all workers are there again")
        total = counts(watcher, app)
        assert seen == sorted(seen)
        assert total.keys() <= {"200", "unknown"}
        unknown = total.get("unknown", 0)
        assert clients.answered <= total["200"] + unknown
        assert total["200"] <= clients.answered + clients.failed
        assert unknown <= clients.failed + 6
        (duration,) = watcher.values("gunicorn_request_duration_seconds_count", app=app.name).values()
        assert duration == total["200"] + unknown


def test_whoever_starts_first_or_again_finds_all_that_was_counted(tmp_path: Path, of_user: Path) -> None:
    with gunicorn("order", of_user, AGENT, enter=as_user) as app:
        for _ in range(5):
            app.get("/")
        for _ in range(2):
            with floodmark(tmp_path) as watcher:
                assert counts(watcher, app) == {"200": 5}
        with floodmark(tmp_path) as watcher:
            app.process.send_signal(signal.SIGTERM)
            # The last thing the master does is to fold its workers.
            until(lambda: watcher.values("gunicorn_up", app=app.name) == {(): 0}, 20, "it is gone")
            assert counts(watcher, app) == {"200": 5}


def test_an_app_that_sends_packets_too_is_counted_once(tmp_path: Path) -> None:
    port = free_port()
    with (
        listen_udp("127.0.0.1", 0) as between,
        floodmark(tmp_path, "--statsd-listen", f"127.0.0.1:{port}") as watcher,
    ):
        address = f"127.0.0.1:{between.getsockname()[1]}"
        flags = ("--logger-class=tests.support.both.Logger", "--statsd-host", address)
        with gunicorn("once", tmp_path, *flags, "--statsd-prefix", "once") as app:
            for _ in range(5):
                app.get("/")
            packets = [between.recv(LARGEST) for _ in range(10)]
            for packet in packets:
                between.sendto(packet, ("127.0.0.1", port))
            assert any(b"once.gunicorn.request.status.200" in packet for packet in packets)
            until(lambda: counts(watcher, app), 10, "they are counted")
            time.sleep(0.3)  # the packets are counted too by now
            assert counts(watcher, app) == {"200": 5}
            assert watcher.values("gunicorn_requests_total", app=app.name, method="GET")


def test_without_the_right_to_look_into_the_app_its_slabs_are_read_all_the_same(tmp_path: Path) -> None:
    """The agent's files are for everybody: no capability is needed."""
    if os.geteuid() != 0:
        pytest.skip("only root can run a gunicorn that floodmark has no right to look into")
    with (
        gunicorn("open", tmp_path, AGENT) as app,
        floodmark(tmp_path, prefix=("setpriv", "--bounding-set", "-all")) as watcher,
    ):
        app.get("/")
        states = watcher.values("gunicorn_workers", app=app.name)
        assert states == {("busy",): 0, ("idle",): 2, ("unknown",): 0}
        assert counts(watcher, app) == {"200": 1}


def test_an_agent_whose_folder_is_in_a_mount_namespace_that_is_closed_to_us_is_said_with_the_grant(
    tmp_path: Path,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount")

    def apart(command: list[str]) -> list[str]:
        mount = 'mount -t tmpfs none /dev/shm && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", mount, "sh", *command]

    with gunicorn("apart", tmp_path, AGENT, enter=apart) as app:
        app.get("/")
        with floodmark(tmp_path) as watcher:
            assert counts(watcher, app) == {"200": 1}
        blind = ("setpriv", "--bounding-set", "-all")
        with floodmark(tmp_path, prefix=blind) as watcher:
            assert counts(watcher, app) == {}
            said = [line for line in watcher.lines() if line.get("source") == "agent"]
            (mine,) = [line for line in said if line["app"] == app.name]
            assert "CAP_SYS_PTRACE" in mine["grant"]


def test_a_leaking_app_shows_blocks_that_stay_after_each_full_collection(tmp_path: Path) -> None:
    with (
        gunicorn("live", tmp_path, AGENT, "--timeout", "60", workers=1) as app,
        floodmark(tmp_path) as watcher,
    ):
        live: list[float] = []
        for _ in range(2):
            app.get("/leak?20000")
            app.get("/collect")
            live += watcher.values("python_heap_live_blocks", app=app.name).values()
        assert live[1] > live[0] + 20_000
        collections = watcher.values("python_gc_collections_total", app=app.name, generation="2")
        assert collections == {("0",): 2}
        assert sum(watcher.values("python_gc_pause_seconds_sum", app=app.name).values()) > 0
