"""The HTTP server: few threads, short time-outs, nothing kept between requests."""

from __future__ import annotations

import gzip
import html
import logging
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import Full, Queue
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from floodmark import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from floodmark.config import Address
    from floodmark.exposition import Page

log = logging.getLogger(__name__)

THREADS = 3  # two Prometheus servers and a person with curl
WAITING = 8  # connections accepted but not begun; more are closed at once
TIMEOUT = 10.0  # seconds for a request to arrive, and for each write of its answer

_INDEX = """<!doctype html><meta charset="utf-8"><title>floodmark</title>
<style>body{{font:16px/1.5 system-ui;margin:3em auto;max-width:40em}}</style>
<h1>floodmark {version}</h1><p>
<a href="metrics">metrics</a> · <a href="deaths">deaths</a> · <a href="healthz">healthz</a>{apps}"""


class Server(HTTPServer):
    """Serves ``/metrics``, ``/deaths``, ``/healthz``, ``/apps/<app>/metrics`` and a page that links to them.

    Args:
        address: where to listen.
        metrics: makes a page for an Accept header; called from several threads at once.
        deaths: makes the death records' JSON; called likewise.
        apps: make the page of an app's own metrics, by its label; OSError or ValueError are answered 503.

    Raises:
        OSError: the address can't be had.
    """

    request_queue_size = 16

    def __init__(
        self,
        address: Address,
        metrics: Callable[[str], Page],
        deaths: Callable[[], bytes],
        apps: Mapping[str, Callable[[str], Page]] | None = None,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self.metrics = metrics
        self.deaths = deaths
        self.apps = apps or {}
        super().__init__((address.host, address.port), _Handler)
        self._accepted: Queue[tuple[socket.socket, object]] = Queue(WAITING)
        for number in range(THREADS):
            threading.Thread(target=self._work, name=f"http-{number}", daemon=True).start()

    def server_bind(self) -> None:
        """Bind, without HTTPServer's reverse look-up of the own address: it can take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "", self.socket.getsockname()[1]

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override] # TCP only
        """Hand the connection to a thread, or close it where all are busy and enough wait."""
        try:
            self._accepted.put_nowait((request, client_address))
        except Full:
            self.shutdown_request(request)

    def _work(self) -> None:
        while True:
            request, client_address = self._accepted.get()
            try:
                self.finish_request(request, client_address)
            except Exception:  # one bad request must not cost a thread
                log.debug("request failed", extra={"client": client_address}, exc_info=True)
            finally:
                self.shutdown_request(request)


def _app(path: str) -> str:
    """Return the app of ``/apps/<app>/metrics``, an empty string for any other path."""
    if path.startswith("/apps/") and path.endswith("/metrics"):
        return unquote(path.removeprefix("/apps/").removesuffix("/metrics"))
    return ""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = TIMEOUT
    server_version = f"floodmark/{__version__}"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer."""
        path = urlsplit(self.path).path
        if path == "/metrics":
            self._metrics(self.server.metrics)
        elif (app := _app(path)) in self.server.apps:
            self._metrics(self.server.apps[app])
        elif path == "/deaths":
            self._send(HTTPStatus.OK, "application/json", self.server.deaths())
        elif path == "/healthz":
            self._send(HTTPStatus.OK, "text/plain; charset=utf-8", b"ok\n")
        elif path == "/":
            links = (
                f' · <a href="apps/{quote(name, safe="")}/metrics">{html.escape(name)}</a>'
                for name in self.server.apps
            )
            page = _INDEX.format(version=html.escape(__version__), apps="".join(links))
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", page.encode())
        else:
            self._send(
                HTTPStatus.NOT_FOUND,
                "text/plain; charset=utf-8",
                b"here are /metrics, /deaths, /healthz, and /apps/<app>/metrics of apps with"
                b" prometheus_multiproc_dir\n",
            )

    do_HEAD = do_GET  # noqa: N815 - http.server finds it by this name

    def _metrics(self, make: Callable[[str], Page]) -> None:
        try:
            page = make(self.headers.get("Accept", ""))
        except (OSError, ValueError) as error:
            # Prometheus keeps no sample of it, and shows the target as down.
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", f"{error}\n".encode())
            return
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            # Level 1: a fifth of the size already, at a third of the default level's CPU.
            self._send(HTTPStatus.OK, page.content_type, gzip.compress(page.body, 1), "gzip")
        else:
            self._send(HTTPStatus.OK, page.content_type, page.body)

    def _send(self, status: HTTPStatus, content_type: str, body: bytes, encoding: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if encoding:
            self.send_header("Content-Encoding", encoding)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - BaseHTTPRequestHandler's name
        """Log requests at debug only: each scrape would be a line."""
        log.debug("http", extra={"client": self.client_address[0], "request": format % args})
