"""The visitors of Compose's demo, against a real server, and its app as its image starts it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.demo import traffic
from tests.support.live import free_port, until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


@contextmanager
def shop(uploads: int) -> Iterator[tuple[int, list[str]]]:
    """Serve 200 but for the report and the upload after so many, which kill; yields port and paths."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            taken = sum(path.startswith("/upload") for path in asked)
            if self.path.startswith("/report") or taken > uploads:
                return  # the connection closes without a word, as a killed worker's does
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            thread.join()


def test_visitors_bring_down_one_worker_by_its_timeout_and_one_by_its_memory_and_leave_the_rest() -> None:
    waited: list[float] = []
    with shop(uploads=3) as (port, asked):
        traffic.harm(port, waited.append)
    assert asked == ["/report?seconds=3600", *["/upload?mib=32"] * 4]
    assert len(waited) == 2


def test_where_no_limit_ends_the_leak_they_stop_by_themselves() -> None:
    with shop(uploads=1000) as (port, asked):
        traffic.harm(port, lambda _: None)
    assert len(asked) < 20


@pytest.mark.live
def test_the_app_starts_as_its_image_starts_it_with_the_agent_and_is_healthy(tmp_path: Path) -> None:
    dockerfile = (ROOT / "deploy/demo/Dockerfile").read_text().replace("\\\n", "")
    for line in dockerfile.splitlines():
        if line.startswith("COPY") and "requirements" not in line:
            *sources, target = line.split()[1:]
            for source in sources:
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, tmp_path / target)
                else:
                    (tmp_path / target).mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / source, tmp_path / target)
    port = free_port()
    command = json.loads(dockerfile.partition("\nCMD ")[2])
    assert command.pop(0) == "gunicorn"
    command = [part.replace("0.0.0.0:8000", f"127.0.0.1:{port}") for part in command]
    agent = tmp_path / "agent"
    agent.mkdir()
    # -S: floodmark itself, installed here, must not stand in for the one folder that the image has of it.
    python = [sys.executable, "-S", "-m"]
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{tmp_path}:{sysconfig.get_path('purelib')}",
        "FLOODMARK_AGENT_DIR": str(agent),
    }

    def healthy() -> bool:
        check = [*python, "deploy.demo.traffic", "--once", "--port", str(port)]
        return subprocess.run(check, cwd=tmp_path, env=environment, check=False).returncode == 0

    assert not healthy()
    gunicorn = subprocess.Popen([*python, "gunicorn", *command], cwd=tmp_path, env=environment)
    try:
        until(healthy, 20, "the demo's app is healthy")
        assert list(agent.rglob("*.slab")), sorted(agent.rglob("*"))
    finally:
        gunicorn.terminate()
        gunicorn.wait(20)
