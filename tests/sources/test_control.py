"""Gunicorn's control socket: what is sent to it, and everything that may come back."""

import ast
import contextlib
import inspect
import json
import os
import socket
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from floodmark.sources import control
from floodmark.sources.control import AnotherMasterError, Worker
from tests.support.control_server import Server, answer, framed

# As gunicorn 27.0.1 answered.
WORKERS = {
    "workers": [
        {"pid": 561, "age": 1, "booted": False, "aborted": True, "last_heartbeat": 31.4},
        {"pid": 562, "age": 2, "booted": False, "aborted": False, "last_heartbeat": 0.41},
    ],
    "count": 2,
}
CONFIG = {
    "bind": ["127.0.0.1:8000"],
    "workers": 2,
    "worker_class": "<class 'gunicorn.workers.ggevent.GeventWorker'>",
    "threads": 1,
    "timeout": 30,
    "max_requests": 100,
    "preload_app": False,
    "pidfile": None,
    "control_socket": "/root/.gunicorn/gunicorn.ctl",
}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.chdir(tmp_path)
    with Server("gunicorn.ctl") as server:
        yield server


def test_workers_and_those_that_were_given_up_are_told(server: Server) -> None:
    server.says(answer(WORKERS))
    assert control.workers(server.path, os.getpid()) == [
        Worker(561, aborted=True),
        Worker(562, aborted=False),
    ]


def test_settings_are_told_by_the_names_and_values_that_one_sets_them_by(server: Server) -> None:
    server.says(answer(CONFIG))
    told = control.config(server.path, os.getpid())
    assert told["max_requests"] == 100
    assert told["preload_app"] is False
    assert told["worker_class"] == "gevent"
    assert "pidfile" not in told


@pytest.mark.parametrize(
    ("told", "short"),
    [
        ("<class 'gunicorn.workers.sync.SyncWorker'>", "sync"),
        ("<class 'gunicorn.workers.gthread.ThreadWorker'>", "gthread"),
        ("<class 'gunicorn.workers.gasgi.ASGIWorker'>", "asgi"),
        ("<class 'uvicorn_worker._workers.UvicornWorker'>", "uvicorn_worker._workers.UvicornWorker"),
        ("gthread", "gthread"),
    ],
)
def test_a_worker_class_is_told_by_the_name_it_is_set_by(told: str, short: str, server: Server) -> None:
    server.says(answer({"worker_class": told}))
    assert control.config(server.path, os.getpid()) == {"worker_class": short}


def test_two_questions_are_sent_and_nothing_else(server: Server) -> None:
    server.says(answer(WORKERS))
    control.workers(server.path, os.getpid())
    control.config(server.path, os.getpid())
    questions = [json.loads(heard[4:]) for heard in server.heard]
    assert questions == [
        {"id": 1, "command": "show workers", "args": []},
        {"id": 1, "command": "show config", "args": []},
    ]


def test_the_module_can_send_nothing_but_those_two_constants() -> None:
    tree = ast.parse(inspect.getsource(control))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    sends = [ast.unparse(call) for call in calls if "send" in ast.unparse(call.func)]
    assert sends == ["asking.sendall(question)"]
    asks = [call for call in calls if ast.unparse(call.func) == "_ask"]
    assert {ast.unparse(call.args[2]) for call in asks} == {"_WORKERS", "_CONFIG"}
    made = [ast.unparse(node) for node in tree.body if "_question(" in ast.unparse(node)]
    assert [line for line in made if not line.startswith("def ")] == [
        "_WORKERS = _question('show workers')",
        "_CONFIG = _question('show config')",
    ]


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\0\0",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        framed(b"not JSON"),
        framed(b"\xff\xfe"),
        framed(b"[" * 100_000),
        framed(b"[]"),
        framed(b'{"status": "ok"}'),
        answer({}, status="error"),
        answer({"workers": 7}),
        answer({"workers": [{"pid": 561}]}),
        struct.pack(">I", 1000) + b"{}",
        struct.pack(">I", 1 << 31) + b"{}",
    ],
    ids=lambda said: repr(said[:24]),
)
def test_rubbish_is_a_plain_error(said: bytes, server: Server) -> None:
    server.says(said)
    with pytest.raises(ValueError, match=r"answer"):
        control.workers(server.path, os.getpid())


def test_a_server_that_says_nothing_is_not_waited_for(server: Server) -> None:
    server.speak = lambda connection: connection.recv(1)  # until the asker has gone
    with pytest.raises(TimeoutError, match="no answer in time"):
        control.workers(server.path, os.getpid())


def test_a_server_that_answers_drop_by_drop_is_not_waited_for(server: Server) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(struct.pack(">I", 100_000))
        while True:  # until the asker has gone
            connection.sendall(b" ")
            time.sleep(0.01)

    server.speak = drip
    with pytest.raises(TimeoutError, match="no answer in time"):
        control.workers(server.path, os.getpid())


def test_a_server_that_accepts_nobody_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening, contextlib.ExitStack() as stack:
        listening.bind("gunicorn.ctl")
        listening.listen(0)
        waiting = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        waiting.connect("gunicorn.ctl")
        with pytest.raises(OSError, match=r"no answer in time|temporarily unavailable"):
            control.workers(str(tmp_path / "gunicorn.ctl"), os.getpid())


def test_anothers_socket_is_told_nothing(server: Server) -> None:
    with pytest.raises(AnotherMasterError, match=f"process {os.getpid()}"):
        control.workers(server.path, 1)
    assert server.heard in ([], [b""])


def test_a_socket_that_is_made_anew_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made: list[Server] = []

    def make(_: float) -> None:
        made.append(Server("gunicorn.ctl"))
        made[0].says(answer(WORKERS))

    monkeypatch.setattr("floodmark.sources.control.time.sleep", make)
    assert len(control.workers(str(tmp_path / "gunicorn.ctl"), os.getpid())) == 2
    made[0].close()


def test_a_path_longer_than_a_unix_address_is_reached(tmp_path: Path, server: Server) -> None:
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    Path(server.path).rename(folder / "gunicorn.ctl")
    server.says(answer(WORKERS))
    assert len(control.workers(str(folder / "gunicorn.ctl"), os.getpid())) == 2


def test_the_socket_a_process_listens_on_is_found_in_its_own_table_and_no_other_is() -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        for name in ("gunicorn.ctl", "app.sock"):
            listening = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            listening.bind(f"{folder}/{name}")
            listening.listen()
        process = f"/proc/{os.getpid()}"
        found = [path for path in control.listening(process) if folder in path]
        assert found == [f"{process}/root{folder}/gunicorn.ctl"]


def test_no_socket_is_an_error_of_the_system(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path / "nowhere/none"):
        with pytest.raises(FileNotFoundError):
            control.workers(str(path), 1)


@pytest.mark.parametrize(
    ("version", "has_one"),
    [("20.1.0", False), ("25.0.3", False), ("25.1.0", True), ("27.0.1", True), ("unknown", None)],
)
def test_which_versions_have_one(version: str, has_one: bool | None) -> None:  # noqa: FBT001 - a table's column
    assert control.supported(version) is has_one


@pytest.mark.parametrize(
    ("told", "environ", "expected"),
    [
        ("/run/shop.ctl", {}, ["/proc/9/root/run/shop.ctl", "/host/run/shop.ctl"]),
        ("shop.ctl", {}, ["/proc/9/cwd/shop.ctl"]),
        ("", {"HOME": "/home/app"}, ["/proc/9/root/home/app/.gunicorn/gunicorn.ctl"]),
        (
            "",
            {"XDG_RUNTIME_DIR": "/run/user/7", "HOME": "/home/app"},
            ["/proc/9/root/run/user/7/gunicorn.ctl", "/proc/9/root/home/app/.gunicorn/gunicorn.ctl"],
        ),
        ("", {}, ["/proc/9/root/run/user/0/gunicorn.ctl", "/proc/9/root/root/.gunicorn/gunicorn.ctl"]),
    ],
)
def test_it_is_looked_for_where_gunicorn_makes_it(
    told: str, environ: dict[str, str], expected: list[str]
) -> None:
    assert list(control.candidates("/proc/9", "/host", told, environ, 0)) == expected
