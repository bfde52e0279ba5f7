"""A gunicorn in a container of its own: PID 1 in its own pid, network and mount namespaces and memory cgroup.

Watched from the host, from a sidecar that shares its pid namespace, and from inside.
"""

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.demo import memory_cgroup
from tests.support.live import BIN, ROOT, Floodmark, floodmark, memory_limited, until

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may make these namespaces"),
]


class Container:
    """A running container; ``pid`` is that of its gunicorn, as the host has it."""

    def __init__(self, name: str, folder: Path, cgroup: memory_cgroup.MemoryCgroup) -> None:
        self.name = f"{name}-{os.getpid()}"
        self.log = folder / "gunicorn.log"
        self._socket = folder / "gunicorn.sock"
        command = [
            *("unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--net"),
            *(str(BIN / "gunicorn"), "tests.support.killable:app", "--chdir", str(ROOT), "--name", self.name),
            *("--bind", f"unix:{self._socket}", "--workers", "2", "--timeout", "2", "--no-control-socket"),
            *("--error-logfile", str(self.log)),
        ]
        self.process = subprocess.Popen(cgroup.entering(command))
        until(lambda: self.log.exists() and self.log.read_text().count("Booting") == 2, 20, "it starts")
        unshare = self.process.pid
        self.pid = int(Path(f"/proc/{unshare}/task/{unshare}/children").read_text())

    def get(self, path: str) -> None:
        """Send a request and wait for its answer or its worker's end."""
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
            client.settimeout(20)
            client.connect(str(self._socket))
            client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            while client.recv(4096):
                pass


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    with contextlib.ExitStack() as stack:
        cgroup = stack.enter_context(memory_limited("container", 128))
        started = Container("boxed", tmp_path, cgroup)
        stack.callback(started.process.wait, 10)
        stack.callback(started.process.kill)  # takes all in its pid namespace along
        yield started


def dies_twice(container: Container, watcher: Floodmark) -> list[tuple[str, str]]:
    """Have it time out, then run out of memory, and return what its workers are said to have ended by."""
    container.get("/stick-in-c?30")
    until(lambda: len(watcher.ends(container.name)) >= 1, 15, "the timeout is judged")
    container.get("/keep?200")
    until(lambda: len(watcher.ends(container.name)) >= 2, 15, "the OOM kill is judged")
    return watcher.ends(container.name)


def test_from_the_host_both_deaths_are_confirmed(container: Container, tmp_path: Path) -> None:
    with floodmark(tmp_path) as watcher:
        assert len(watcher.values("gunicorn_worker_info", app=container.name)) == 2
        assert watcher.values("gunicorn_memory_limit_bytes", app=container.name) == {(): 128 << 20}
        assert dies_twice(container, watcher) == [("timeout", "confirmed"), ("oom_kill", "confirmed")]


@pytest.mark.parametrize(
    "namespaces",
    [
        pytest.param(("--pid", "--mount"), id="sidecar"),
        pytest.param(("--pid", "--mount", "--net"), id="inside"),
    ],
)
def test_in_its_pid_namespace_an_oom_kill_is_probable_as_the_kernels_log_names_host_pids(
    container: Container, tmp_path: Path, namespaces: tuple[str, ...]
) -> None:
    enter = ("nsenter", "--target", str(container.pid), *namespaces)
    with floodmark(tmp_path, prefix=enter) as watcher:
        assert dies_twice(container, watcher) == [("timeout", "confirmed"), ("oom_kill", "probable")]
        (lack,) = (line for line in watcher.lines() if line.get("source") == "kernel_log")
        assert "pid: host" in lack["grant"]
