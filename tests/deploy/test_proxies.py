"""deploy/nginx and deploy/caddy in the real servers, with the sites that deploy/README.md shows."""

from __future__ import annotations

import getpass
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from deploy.demo import servers
from floodmark.sources import proxyconf
from tests.support.live import ROOT, floodmark, free_port, gunicorn, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.live, pytest.mark.parametrize("kind", ["nginx", "caddy"])]

APP = "tests.support.proxied:app"
AGENT = ("--logger-class", "floodmark.agent.Logger")
GUNICORNS_DEFAULT = 30

# Debian's own, as far as it matters, but for the paths.
NGINX_CONF = """\
user {user};
pid {root}/nginx.pid;
error_log {root}/error.log;
events {{}}
http {{
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxied;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    access_log {root}/other-sites.log;
    include conf.d/*.conf;
    include sites-enabled/*;
}}
"""
CADDY_OPTIONS = "{\n\tadmin off\n}\n"


class Proxy(NamedTuple):
    """A proxy set up as deploy/README.md says, with a folder for /."""

    root: Path
    port: int

    def lines(self, count: int) -> list[dict[str, Any]]:
        """Return the lines of its access log once there are so many; all are JSON."""
        log = self.root / "access.log"
        until(
            lambda: log.exists() and log.read_bytes().count(b"\n") >= count, 10, f"{count} lines in the log"
        )
        return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]

    def ask(self, target: str, *headers: str) -> int:
        """Send a request, byte for byte, and return the status of the whole answer."""
        head = [f"GET {target} HTTP/1.1", f"Host: shop.example:{self.port}", "Connection: close", *headers]
        with socket.create_connection(("127.0.0.1", self.port), 30) as connection:
            connection.sendall("\r\n".join([*head, "", ""]).encode("latin-1"))
            with connection.makefile("rb") as answer:
                return int(answer.read().split(maxsplit=2)[1])


def changed(text: str, replaced: dict[str, str]) -> str:
    """Replace what can't be here as it is there; it has to be there."""
    for old, new in replaced.items():
        assert old in text, f"{old!r} isn't there any more"
        text = text.replace(old, new)
    return text


def shown(language: str) -> str:
    """Return the site that deploy/README.md shows in a language."""
    readme = (ROOT / "deploy/README.md").read_text()
    (site,) = re.findall(rf"```{language}\n(.*?)```", readme, re.DOTALL)
    return str(site)


def nginx(root: Path, port: int, upstream: str, timeout: str) -> list[str | Path]:
    etc, shipped = root / "etc/nginx", ROOT / "deploy/nginx"
    for folder in ("conf.d", "snippets", "sites-enabled"):
        (etc / folder).mkdir(parents=True)
    (etc / "nginx.conf").write_text(NGINX_CONF.format(user=getpass.getuser(), root=root))
    shutil.copy(shipped / "floodmark.conf", etc / "conf.d")
    shutil.copy(shipped / "floodmark-location.conf", etc / "snippets")
    here = {
        "listen 80;": f"listen 127.0.0.1:{port};",
        "/var/log/nginx/access.log": str(root / "access.log"),
        "127.0.0.1:8000": upstream.replace("/", "unix:/", 1),
        "proxy_read_timeout 25s": f"proxy_read_timeout {timeout}",
    }
    (etc / "sites-enabled/shop").write_text(changed(shown("nginx"), here))
    paths = ("-c", etc / "nginx.conf", "-e", root / "error.log")
    subprocess.run([servers.find("nginx"), *paths, "-t"], check=True)
    return [servers.find("nginx"), *paths, "-g", "daemon off;"]


def caddy(root: Path, port: int, upstream: str, timeout: str) -> list[str | Path]:
    etc = root / "etc/caddy"
    etc.mkdir(parents=True)
    here = {
        "/var/log/caddy/access.log": str(root / "access.log"),
        "response_header_timeout 25s": f"response_header_timeout {timeout}",
    }
    snippets = (ROOT / "deploy/caddy/floodmark.caddy").read_text()
    (etc / "floodmark.caddy").write_text(changed(snippets, here))
    here = {
        "shop.example {": f"http://shop.example:{port} {{\n\tbind 127.0.0.1",
        "127.0.0.1:8000": upstream.replace("/", "unix//", 1),
    }
    (etc / "Caddyfile").write_text(CADDY_OPTIONS + changed(shown("caddyfile"), here))
    config = ("--config", etc / "Caddyfile", "--adapter", "caddyfile")
    subprocess.run([servers.find("caddy"), "validate", *config], check=True)
    return [servers.find("caddy"), "run", *config]


# Each sets up a proxy below a folder that stands for /, has it check that, and returns what runs it. The
# upstream is host:port or the path of a unix socket; the timeout stands in place of the one that is shipped.
SET_UP = {"nginx": nginx, "caddy": caddy}


@contextmanager
def proxy(kind: str, folder: Path, upstream: str, timeout: str = "25s") -> Iterator[Proxy]:
    """Run a proxy in front of an upstream; it listens."""
    running = Proxy(folder / kind, free_port())
    command = SET_UP[kind](*running, upstream, timeout)
    environ = os.environ | {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (
        (folder / f"{kind}.log").open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output, env=environ) as process,
    ):
        try:
            until(lambda: listens(running.port), 10, f"{kind} listens")
            yield running
        finally:
            process.terminate()
            process.wait(20)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_proxy_gives_up_before_gunicorn_does_and_floodmark_check_sees_it(kind: str, tmp_path: Path) -> None:
    SET_UP[kind](tmp_path, free_port(), "127.0.0.1:8000", "25s")
    ((name, seconds),) = proxyconf.read(tmp_path)
    assert kind in name.lower()
    assert GUNICORNS_DEFAULT - 10 < seconds < GUNICORNS_DEFAULT


def test_the_agent_tells_how_long_a_request_waited_for_a_worker_since_the_proxy_took_it(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOODMARK_AGENT_DIR", str(tmp_path))
    unix = tmp_path / "app.sock"
    flags = (*AGENT, "--timeout", "60", "--bind", f"unix:{unix}")
    with (
        gunicorn(f"behind-{kind}", tmp_path, *flags, workers=1) as app,
        proxy(kind, tmp_path, str(unix)) as front,
        floodmark(tmp_path) as told,
        ThreadPoolExecutor(1) as elsewhere,
    ):

        def waited(count: int) -> float:
            """Return the sum of all waits once there are so many."""
            name, labels = "gunicorn_request_queue_seconds", {"app": app.name}
            until(lambda: told.values(f"{name}_count", **labels).get(()) == count, 10, f"{count} waits")
            return told.values(f"{name}_sum", **labels)[()]

        def timed(path: str) -> float:
            asked = time.monotonic()
            assert front.ask(path) == 200
            return time.monotonic() - asked

        idle = sum(timed("/") for _ in range(3))
        before = waited(3)
        cut = 0.001  # off a stamp, at most: it is in milliseconds
        assert 0 <= before <= idle + 3 * cut

        (worker,) = app.workers()
        os.kill(worker, signal.SIGSTOP)
        busy = elsewhere.submit(timed, "/")
        until(
            lambda: sum(told.values("gunicorn_listen_backlog", app=app.name).values()),
            10,
            "it is in the queue",
        )
        time.sleep(0.5)
        os.kill(worker, signal.SIGCONT)
        took = busy.result()
        assert 0.5 <= waited(4) - before <= took + cut


def test_of_time_address_and_scheme_the_app_gets_the_proxys_word_and_never_the_clients(
    kind: str, tmp_path: Path
) -> None:
    seen = tmp_path / "environ.log"
    names = ("x_request_start", "x_forwarded_for", "x_forwarded_proto", "x_forwarded_host", "host")
    logged = " ".join(f"%({{http_{name}}}e)s" for name in names)
    # "dangerous" is what all gunicorns before 22 do: underscores and hyphens are the same to it.
    flags = ("--header-map", "dangerous", "--access-logfile", str(seen), "--access-logformat", logged)
    with (
        gunicorn(f"forged-{kind}", tmp_path, *flags, workers=1) as app,
        proxy(kind, tmp_path, f"127.0.0.1:{app.port}") as front,
    ):
        forwarded = ("X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.example")
        stamps = ("X-Request-Start", "x-request-start", "X_Request_Start", "x_REQUEST_start")
        for stamp in stamps:
            assert front.ask("/", f"{stamp}: t=1", f"{stamp}: t=2", *forwarded) == 200
        until(lambda: seen.read_text().count("\n") == len(stamps), 5, "all are in gunicorn's log")
    host = f"shop.example:{front.port}"
    for line in seen.read_text().splitlines():
        stamp, *rest = line.split()
        assert rest == ["127.0.0.1", "http", host, host]
        seconds = re.fullmatch(r"t=(\d{10})\.?\d{3}", stamp)
        assert seconds, stamp
        assert time.time() - 60 < int(seconds[1]) <= time.time()


def test_each_answer_is_a_line_of_json_that_tells_who_failed_and_has_no_query_string(
    kind: str, tmp_path: Path
) -> None:
    asked = [
        ("/?31337", 200),
        ("/missing?31337", 404),
        # What is no right path: gunicorn refuses it, where Caddy has made it right before.
        ('/"\\\xff?31337', 400 if kind == "nginx" else 404),
        ("/signal?9", 502),
        ("/wait?2", 504),
        ("/?31337", 502),
    ]
    secrets = ("Referer: http://shop.example/?31337", "Cookie: a=31337", "Authorization: Basic 31337")
    with (
        gunicorn(f"logged-{kind}", tmp_path, "--timeout", "60", target=APP) as app,
        proxy(kind, tmp_path, f"127.0.0.1:{app.port}", timeout="1s") as front,
    ):
        started = time.time()
        for number, (target, status) in enumerate(asked, 1):
            if number == len(asked):  # nobody listens any more
                app.process.terminate()
                app.process.wait(20)
            assert front.ask(target, *secrets) == status
            front.lines(number)  # in this order
        lines = front.lines(len(asked))

    requests = lines if kind == "nginx" else [line["request"] for line in lines]
    assert [line["status"] for line in lines] == [status for _, status in asked]
    paths = [request["uri"] for request in requests]
    assert paths[:2] + paths[3:] == ["/", "/missing", "/signal", "/wait", "/"]
    assert {(request["method"], request["remote_ip"]) for request in requests} == {("GET", "127.0.0.1")}
    assert all(started - 1 < line["ts"] < started + 60 for line in lines)
    assert lines[4]["duration"] > 0.9
    assert all(0 <= line["duration"] < 60 for line in lines)
    assert lines[0]["size"] > 0
    log = (front.root / "access.log").read_text()
    assert "?" not in log
    assert "31337" not in log
    if kind == "nginx":  # and Caddy 2.6 can't say it
        told = [(line["upstream_status"], line["upstream_connect_time"]) for line in lines]
        assert [(status, connected != "-") for status, connected in told] == [
            *(("200", True), ("404", True), ("400", True), ("502", True), ("504", True)),
            ("502", False),
        ]
        assert float(lines[0]["upstream_header_time"]) >= 0
        assert float(lines[4]["upstream_response_time"]) > 0.9


def test_a_worker_that_gunicorn_kills_at_its_timeout_is_a_502_where_the_proxy_waits_longer(
    kind: str, tmp_path: Path
) -> None:
    with (
        gunicorn(f"timeout-{kind}", tmp_path, "--timeout", "1", workers=1) as app,
        proxy(kind, tmp_path, f"127.0.0.1:{app.port}") as front,
    ):
        # In Python a sync worker of newer gunicorns would still answer, with a 500 of its own.
        assert front.ask("/stick-in-c?20") == 502
        (line,) = front.lines(1)
        assert line["status"] == 502
        assert line["duration"] > 0.5
        assert "WORKER TIMEOUT" in app.log.read_text()
