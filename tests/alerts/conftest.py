"""The real promtool, Alertmanager and amtool, and a webhook as strict as Slack's."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import queue
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml

from deploy.alertmanager import variants
from deploy.demo import servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "alerts"
SHIPPED = ROOT / "deploy" / "alertmanager"

# What the message is held to; Slack itself cuts or refuses somewhat beyond.
_MOST_CHARACTERS = {"title": 150, "fallback": 300, "text": 2000}


@pytest.fixture(scope="session")
def program() -> Callable[[str], Path]:
    """Return a function that finds a program; a skip where it can't be had, which CI doesn't accept."""

    def find(name: str) -> Path:
        try:
            return servers.find(name)
        except servers.UnavailableError as error:
            reason = str(error)
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)

    return find


class Webhook(http.server.ThreadingHTTPServer):
    """An incoming webhook: keeps what it takes, answers as Slack does (200 ok, 400 invalid_payload)."""

    daemon_threads = True

    def __init__(self) -> None:
        self.refused: list[bytes] = []
        self._taken: queue.Queue[dict[str, Any]] = queue.Queue()
        self._beats: queue.Queue[float] = queue.Queue()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """Its address, of the kind that is a secret."""
        return f"http://127.0.0.1:{self.server_port}/services/T0/B0/secret"

    def take(self, body: bytes) -> bool:
        """Keep a payload; False if Slack would not. What Alertmanager's own webhook sends is a heartbeat."""
        if b'"groupKey"' in body:
            self._beats.put(time.monotonic())
            return True
        try:
            attachment = json.loads(body)["attachments"][0]
            fits = all(0 < len(attachment[field]) <= most for field, most in _MOST_CHARACTERS.items())
        except (ValueError, LookupError, TypeError):
            fits = False
        if fits:
            self._taken.put(attachment)
        else:
            self.refused.append(body)
        return fits

    def beat(self) -> float:
        """Wait for the next heartbeat and return when it came, in seconds of the monotonic clock.

        Raises:
            AssertionError: none came within half a minute.
        """
        try:
            return self._beats.get(timeout=30)
        except queue.Empty:
            raise AssertionError("no heartbeat came") from None

    def next(self, title: str = "[") -> dict[str, Any]:
        """Return the next attachment whose title starts like this; half a minute is reached only without.

        Alertmanager doesn't wait for the rest of a group whose first alert is older than group_wait, so what
        is posted together may come as two messages, of which the second has all.

        Raises:
            AssertionError: none came.
        """
        try:
            while not (attachment := self._taken.get(timeout=30))["title"].startswith(title):
                pass
        except queue.Empty:
            raise AssertionError(f"no message {title} came; refused: {self.refused[:1]}") from None
        return attachment


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        taken = self.server.take(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200 if taken else 400)
        self.end_headers()
        self.wfile.write(b"ok" if taken else b"invalid_payload")

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """Return a webhook that listens."""
    with Webhook() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Taken(NamedTuple):
    """An alert that Alertmanager has."""

    name: str
    instance: str
    app: str


class Alertmanager:
    """A running Alertmanager, by its address."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ready(self) -> bool:
        """Return whether it answers yet."""
        try:
            self._ask("GET", "/-/ready")
        except (OSError, AssertionError):
            return False
        return True

    def post(self, *alerts: dict[str, Any]) -> None:
        """Send alerts as Prometheus does."""
        self._ask("POST", "/api/v2/alerts", json.dumps(alerts))

    def inhibited(self) -> list[Taken]:
        """Return the alerts that another one inhibits."""
        return self._taken(inhibited=True)

    def told(self) -> list[Taken]:
        """Return the alerts that none inhibits."""
        return self._taken(inhibited=False)

    def _taken(self, *, inhibited: bool) -> list[Taken]:
        return [
            Taken(*(alert["labels"].get(label, "") for label in ("alertname", "instance", "app")))
            for alert in json.loads(self._ask("GET", "/api/v2/alerts"))
            if bool(alert["status"]["inhibitedBy"]) is inhibited
        ]

    def _ask(self, method: str, path: str, body: str | None = None) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        assert answer.status == 200, text
        return text


@pytest.fixture
def alertmanager(program: Callable[[str], Path], tmp_path: Path) -> Iterator[Callable[[Path], Alertmanager]]:
    """Return a function that starts Alertmanager on a configuration and waits until it answers."""
    running: list[subprocess.Popen[bytes]] = []

    def start(configuration: Path) -> Alertmanager:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        log = tmp_path / "alertmanager.log"
        with log.open("wb") as output:
            running.append(
                subprocess.Popen(
                    [
                        program("alertmanager"),
                        f"--config.file={configuration}",
                        f"--storage.path={tmp_path / 'data'}",
                        f"--web.listen-address=127.0.0.1:{port}",
                        "--cluster.listen-address=",
                    ],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            )
        started = Alertmanager(port)
        deadline = time.monotonic() + 30
        while not started.ready():
            assert running[-1].poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        return started

    yield start
    for process in running:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture
def shipped(webhook: Webhook, tmp_path: Path) -> Path:
    """Return the shipped configuration with our webhook, its own templates, and no minutes of waiting."""
    secret = tmp_path / "slack_webhook"
    secret.write_text(webhook.url + "\n")
    config = variants.variant(yaml.safe_load(variants.SHIPPED.read_text()), ["slack"])
    config["global"]["slack_api_url_file"] = str(secret)
    config["templates"] = [str(SHIPPED / pattern) for pattern in config["templates"]]
    config["route"] = hurried(config["route"], 1, group_wait="500ms", group_interval="1s")
    changed = tmp_path / "alertmanager.yml"
    changed.write_text(variants.dump(config))
    return changed


def hurried(route: dict[str, Any], faster: float, **times: str) -> dict[str, Any]:
    """A route and those below it with every time divided by `faster`, or replaced where it is named."""
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    changed = {
        key: f"{int(value[:-1]) * seconds[value[-1]] * 1000 / faster:.0f}ms"
        for key, value in route.items()
        if key in {"group_wait", "group_interval", "repeat_interval"} and value != "0s"
    }
    named = {key: value for key, value in times.items() if key in route}
    below = [hurried(child, faster, **times) for child in route.get("routes", [])]
    return route | changed | named | ({"routes": below} if below else {})
