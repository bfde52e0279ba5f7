"""The container's healthcheck, run as Docker runs it, against a server that answers for real."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).parents[2] / "deploy/docker/healthcheck.py"


@contextmanager
def exporter(status: int) -> Iterator[int]:
    """Serve ``status`` on /healthz and 404 elsewhere; yields the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def check(listen: str) -> int:
    command = [sys.executable, "-I", "-S", str(SCRIPT)]
    return subprocess.run(command, env={"FLOODMARK_LISTEN": listen}, check=False).returncode


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - asked, not bound
def test_an_exporter_that_answers_200_is_healthy_also_where_it_listens_on_all_addresses(host: str) -> None:
    with exporter(200) as port:
        assert check(f"{host}:{port}") == 0


def test_an_exporter_that_answers_503_is_not() -> None:
    with exporter(503) as port:
        assert check(f"127.0.0.1:{port}") == 1


def test_nor_is_one_that_does_not_answer() -> None:
    with exporter(200) as port:
        pass
    assert check(f"127.0.0.1:{port}") == 1
