"""The agent in real gunicorns: beside whatever the app has of its own, and never in its way."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from floodmark.agent import ledger, slab
from tests.support import storm
from tests.support.live import BIN, ROOT, Gunicorn, gunicorn, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.live

AGENT = ("--logger-class", "floodmark.agent.Logger")
HOOKS = {
    "on_starting": "server",
    "on_reload": "server",
    "when_ready": "server",
    "pre_fork": "server, worker",
    "post_fork": "server, worker",
    "post_worker_init": "worker",
    "worker_int": "worker",
    "worker_abort": "worker",
    "pre_request": "worker, req",
    "post_request": "worker, req",
    "child_exit": "server, worker",
    "worker_exit": "server, worker",
    "on_exit": "server",
}
CLASSES = {
    "sync": (),
    "gthread": ("--worker-class", "gthread", "--threads", "4"),
    "gevent": ("--worker-class", "gevent"),
    "asgi": ("--worker-class", "asgi"),
}


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "agent"
    folder.mkdir()
    monkeypatch.setenv("FLOODMARK_AGENT_DIR", str(folder))
    return folder


def living(base: Path, running: Gunicorn) -> list[slab.Snapshot]:
    """Return the slabs of live workers."""
    return [seen for _, seen in ledger.slabs(str(storm.agent_folder(base, running.name))) if seen.alive]


def answered(running: Gunicorn, requests: int, path: str = "/") -> None:
    for _ in range(requests):
        running.get(path)


@pytest.fixture(params=CLASSES)
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gunicorn]:
    target = "tests.support.killable:asgi" if request.param == "asgi" else "tests.support.killable:app"
    flags = (*AGENT, *CLASSES[request.param])
    with gunicorn(f"agent-{request.param}", tmp_path, *flags, target=target) as started:
        yield started


def test_each_worker_class_counts_before_and_after_a_reload(base: Path, running: Gunicorn) -> None:
    folder = storm.agent_folder(base, running.name)
    answered(running, 10)
    answered(running, 2, "/boom")
    storm.wait_counted(folder, {"200": 10, "500": 2})
    before = set(running.workers())
    running.process.send_signal(signal.SIGHUP)
    until(lambda: before.isdisjoint(running.workers()) and len(running.workers()) == 2, 30, "a reload")
    until(lambda: storm.settled(running, folder), 30, "the old workers are folded")
    answered(running, 5)
    storm.wait_counted(folder, {"200": 15, "500": 2})
    orders = {each.order for each in ledger.exits(str(folder))}
    assert orders == {"hup"}
    assert "floodmark" not in "".join(line for line in log(running) if "WARNING" in line)


@pytest.mark.parametrize("worker_class", ["sync", "gthread", "gevent"])
def test_what_is_no_request_counts_by_the_page_that_answers_it(
    base: Path, tmp_path: Path, worker_class: str
) -> None:
    sent = (b"GARBAGE\r\n\r\n", b"GET / HTTP/1.1\r\nBad Header: 1\r\n\r\n", b"GET / HTTP/9.1\r\n\r\n")
    with gunicorn("garbage", tmp_path, *AGENT, *CLASSES[worker_class], workers=1) as running:
        answers: dict[str, int] = {}
        for text in sent * 2:
            with socket.create_connection(("127.0.0.1", running.port), timeout=10) as client:
                client.sendall(text)
                status = client.recv(64).split()[1].decode()
                answers[status] = answers.get(status, 0) + 1
        storm.wait_counted(storm.agent_folder(base, running.name), answers)


def test_a_worker_stuck_in_c_leaves_its_stack_and_its_request(base: Path, running: Gunicorn) -> None:
    # In a thread of a pool only what holds the interpreter's lock keeps the main thread from its beat.
    threaded = "gthread" in running.name
    running.get("/hold-gil" if threaded else "/stick-in-c?6", seconds=15)
    folder = str(storm.agent_folder(base, running.name))
    (ended,) = until(lambda: [each for each in ledger.exits(folder) if each.aborted], 20, "a timeout")
    assert ("in _hold_gil" if threaded else "in _stick_in_c") in (ended.stack or "")
    assert [text for text, _ in ended.in_flight] in (["GET /hold-gil"], ["GET /stick-in-c"], [])
    assert ended.signals[0] == "SIGABRT"


def log(running: Gunicorn) -> list[str]:
    return running.log.read_text().splitlines()


def test_every_hook_of_the_apps_own_config_file_runs_as_without_it(tmp_path: Path) -> None:
    told: dict[bool, list[str]] = {}
    for agent in (False, True):
        out = tmp_path / f"hooks-{agent}"
        config = tmp_path / f"config-{agent}.py"
        config.write_text(
            "".join(
                f"def {name}({names}):\n    open({str(out)!r}, 'a').write({name + chr(10)!r})\n"
                for name, names in HOOKS.items()
            )
        )
        flags = ("--config", str(config), *(AGENT if agent else ()))
        with gunicorn(f"hooks-{agent}", tmp_path, *flags, workers=1) as running:
            answered(running, 3)
            running.process.send_signal(signal.SIGHUP)
            until(lambda: out.read_text().count("child_exit") == 1, 20, "the reload's old worker is gone")  # noqa: B023 - called in here
            running.get("/wait?9", seconds=6)
            until(lambda: out.read_text().count("child_exit") == 2, 20, "a timeout")  # noqa: B023 - as above
        told[agent] = sorted(out.read_text().split())
    assert told[True] == told[False]


def test_a_folder_it_may_not_use_is_said_once_and_the_app_runs_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOODMARK_AGENT_DIR", str(tmp_path / "nowhere"))
    with gunicorn("nowhere", tmp_path, *AGENT) as running:
        assert status(running.port) == 200
        os.kill(running.workers()[0], signal.SIGKILL)
        until(lambda: len(running.workers()) == 2, 10, "a new worker")
        assert status(running.port) == 200
        (said,) = [line for line in log(running) if "floodmark" in line]
        assert "Set FLOODMARK_AGENT_DIR to a folder that gunicorn's user may write to" in said


def test_a_folder_that_vanishes_costs_the_counts_and_nothing_else(base: Path, tmp_path: Path) -> None:
    with gunicorn("vanish", tmp_path, *AGENT) as running:
        answered(running, 3)
        folder = storm.agent_folder(base, running.name)
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        answered(running, 3)
        os.kill(running.workers()[0], signal.SIGKILL)
        until(lambda: len(running.workers()) == 2, 10, "a new worker")
        assert status(running.port) == 200


def test_another_masters_leftovers_are_folded_at_the_next_start(base: Path, tmp_path: Path) -> None:
    with gunicorn("again", tmp_path, *AGENT) as running:
        answered(running, 4)
        name, folder = running.name, storm.agent_folder(base, running.name)
        orphans = running.workers()
        running.process.kill()
        running.process.wait()
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans), 20, "orphans leave")
    assert len(list(folder.glob("*.slab"))) == 2
    flags = (*AGENT, "--name", name)
    with gunicorn("again", tmp_path, *flags) as running:
        until(lambda: len(list(folder.glob("*.slab"))) == 2, 10, "the leftovers are folded")
        answered(running, 1)
        storm.wait_counted(folder, {"200": 5})


def test_a_logger_class_of_the_apps_own_takes_the_mixin(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "own_logging.py"
    module.write_text(
        "import floodmark.agent\nfrom gunicorn.glogging import Logger as Gunicorns\n"
        "class Own(Gunicorns):\n    def access(self, *args):\n        self.info('own access')\n"
        "class Logger(floodmark.agent.Mixin, Own):\n    pass\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with gunicorn("mixin", tmp_path, "--logger-class", "own_logging.Logger") as running:
        answered(running, 3)
        storm.wait_counted(storm.agent_folder(base, running.name), {"200": 3})
        assert sum("own access" in line for line in log(running)) == 3


def test_a_process_that_a_worker_forks_does_not_touch_its_slab(base: Path, tmp_path: Path) -> None:
    module = tmp_path / "forking.py"
    module.write_text(
        "import gc, os\n"
        "def app(environ, start_response):\n"
        "    if not (child := os.fork()):\n"
        "        gc.collect()\n"
        "        os._exit(0)\n"
        "    os.waitpid(child, 0)\n"
        "    start_response('200 OK', [])\n"
        "    return [b'ok']\n"
    )
    with gunicorn("forks", tmp_path, *AGENT, "--pythonpath", str(tmp_path), target="forking:app") as running:
        answered(running, 5)
        full = [seen.rows()["gc 2"][0] for seen in living(base, running)]
        assert sum(full) == 0
        storm.wait_counted(storm.agent_folder(base, running.name), {"200": 5})


def test_gthreads_own_queue_is_told(base: Path, tmp_path: Path) -> None:
    flags = (*AGENT, "--worker-class", "gthread", "--threads", "1")
    with gunicorn("queue", tmp_path, *flags, workers=1) as running:
        program = (
            "import http.client, sys\nc = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]))\n"
            "c.request('GET', '/wait?3')\nc.getresponse().read()"
        )
        command = [sys.executable, "-c", program, str(running.port)]
        clients = [subprocess.Popen(command) for _ in range(4)]
        try:
            until(
                lambda: [seen.header()[slab.Cell.QUEUED] for seen in living(base, running)] == [3.0],
                10,
                "three requests wait in the worker",
            )
        finally:
            for client in clients:
                client.kill()
                client.wait()


def test_the_folder_of_agent_path_needs_nothing_but_python(tmp_path: Path) -> None:
    folder = subprocess.run(
        [BIN / "floodmark", "agent-path"], capture_output=True, text=True, check=True
    ).stdout
    modules = sorted(path.stem for path in (ROOT / "exporter/floodmark/agent").glob("*.py"))
    alone = [name for name in modules if name not in ("__init__", "logger", "flask", "django", "starlette")]
    program = (
        f"import sys; sys.path.insert(0, {folder.strip()!r})\n"
        f"from floodmark.agent import {', '.join(alone)}\n"
        "print(*sorted(name for name in sys.modules if name.startswith('floodmark')))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    loaded = {"floodmark", "floodmark.agent", *(f"floodmark.agent.{name}" for name in alone)}
    assert set(done.stdout.split()) == loaded


def status(port: int) -> int:
    """Return the status of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/")
    return connection.getresponse().status


def test_ten_recycles_later_nothing_has_grown(base: Path, tmp_path: Path) -> None:
    with gunicorn("grown", tmp_path, *AGENT, "--max-requests", "3", workers=1) as running:

        def opened() -> int:
            return len(list(Path(f"/proc/{running.process.pid}/fd").iterdir()))

        folder = storm.agent_folder(base, running.name)
        answered(running, 6)
        storm.wait_settled(running, folder)
        time.sleep(0.5)
        before = opened(), sorted(path.suffix for path in folder.iterdir())
        answered(running, 30)
        storm.wait_settled(running, folder)
        time.sleep(0.5)
        assert (opened(), sorted(path.suffix for path in folder.iterdir())) == before
