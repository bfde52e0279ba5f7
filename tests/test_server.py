"""The HTTP server, over real connections."""

import gzip
import socket
import threading
from collections.abc import Iterator

import pytest
import requests

from floodmark import server as module
from floodmark.config import Address
from floodmark.exposition import Page
from floodmark.server import Server


class Site:
    """A running server, its base address, and an event that scrapes of it wait for."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.server = Server(Address("127.0.0.1", 0), self.page, lambda: b"{}")
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def page(self, accept: str) -> Page:
        assert self.go.wait(10)
        return Page(f"accepted {accept}\n".encode(), "text/plain; version=0.0.4; charset=utf-8")

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.server.server_port), 5)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.go.set()
    site.server.shutdown()
    site.thread.join()
    site.server.server_close()


def test_metrics_come_with_the_content_type_and_the_accept_header_is_honoured(site: Site) -> None:
    answer = requests.get(f"{site.url}/metrics", headers={"Accept": "text/x"}, timeout=5)
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.text == "accepted text/x\n"


def test_metrics_are_gzipped_only_for_those_who_take_it(site: Site) -> None:
    zipped = requests.get(f"{site.url}/metrics", headers={"Accept-Encoding": "gzip"}, timeout=5, stream=True)
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(zipped.raw.read()) == b"accepted */*\n"
    plain = requests.get(f"{site.url}/metrics", headers={"Accept-Encoding": "identity"}, timeout=5)
    assert "Content-Encoding" not in plain.headers


def test_health_is_told_and_unknown_paths_point_to_the_known(site: Site) -> None:
    assert requests.get(f"{site.url}/healthz", timeout=5).text == "ok\n"
    missing = requests.get(f"{site.url}/metric", timeout=5)
    assert missing.status_code == 404
    assert "/metrics" in missing.text
    assert requests.head(f"{site.url}/healthz", timeout=5).content == b""


def test_deaths_come_as_json(site: Site) -> None:
    answer = requests.get(f"{site.url}/deaths", timeout=5)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {}


def test_rubbish_instead_of_http_costs_nothing(site: Site) -> None:
    with site.connect() as rubbish:
        rubbish.sendall(b"\x16\x03\x01 not http\r\n\r\n")
        assert b"Bad request" in rubbish.recv(4096)
    assert requests.get(f"{site.url}/healthz", timeout=5).ok


def test_a_client_that_says_nothing_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._Handler, "timeout", 0.1)  # noqa: SLF001 - the real one is 10 s
    with site.connect() as silent:
        assert silent.recv(1) == b""


def test_no_more_connections_are_taken_than_threads_and_places_to_wait(site: Site) -> None:
    site.go.clear()
    clients = [site.connect() for _ in range(module.THREADS + module.WAITING + 4)]
    for client in clients:
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
    refused = 0
    for client in clients[::-1][:4]:
        try:
            refused += client.recv(1) == b""
        except ConnectionResetError:
            refused += 1
    assert refused == 4
    site.go.set()
    assert b"200 OK" in clients[0].recv(100)
    for client in clients:
        client.close()


def test_a_busy_port_is_an_error(site: Site) -> None:
    with pytest.raises(OSError, match="in use"):
        Server(Address("127.0.0.1", site.server.server_port), site.page, lambda: b"{}")
