"""The real promtool, Alertmanager and amtool, and a webhook that is stricter than Slack's."""

from __future__ import annotations

import http.client
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
from deploy.demo import servers, slack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "alerts"
SHIPPED = ROOT / "deploy" / "alertmanager"

# What the message is held to; Slack itself cuts or refuses beyond that (deploy/demo/slack_rules.py).
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


class Webhook(slack.Page):
    """The demo's stand-in for Slack, with a queue, and stricter: what is told must fit a phone.

    Attributes:
        told: each attachment so far and when it came, in seconds of the monotonic clock.
    """

    def __init__(self) -> None:
        self.told: list[tuple[float, dict[str, Any]]] = []
        self._taken: queue.Queue[dict[str, Any]] = queue.Queue()
        self._beats: queue.Queue[float] = queue.Queue()
        super().__init__(("127.0.0.1", 0), self._keep)

    def _keep(self, message: slack.Message) -> None:
        self.told += [(time.monotonic(), attachment) for attachment in message.payload["attachments"]]
        self._taken.put(message.payload)

    @property
    def url(self) -> str:
        """Its address, of the kind that is a secret."""
        return f"http://127.0.0.1:{self.server_port}{slack.WEBHOOK}"

    def receive(self, path: str, body: bytes, content_type: str) -> slack.Answer:
        """Take it as Slack would. What Alertmanager's own webhook sends is a heartbeat."""
        if b'"groupKey"' in body:
            self._beats.put(time.monotonic())
            return slack.Answer(200, "ok")
        return super().receive(path, body, content_type)

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
        """Return the attachment of the next message whose title starts like this.

        Alertmanager doesn't wait for the rest of a group whose first alert is older than group_wait, so what
        is posted together may come as two messages, of which the second has all.

        Raises:
            AssertionError: none came within half a minute, or it isn't what fits a phone.
        """
        attachment: dict[str, Any] = self.payload(title)["attachments"][0]
        return attachment

    def payload(self, title: str = "[") -> dict[str, Any]:
        """Return all of that message, as `next`."""
        while True:
            try:
                payload = self._taken.get(timeout=30)
            except queue.Empty:
                words = [word for word, _ in self.refused]
                raise AssertionError(f"no message {title} came; refused: {words}") from None
            (attachment,) = payload["attachments"]
            for part, most in _MOST_CHARACTERS.items():
                assert 0 < len(attachment[part]) <= most, attachment[part]
            if attachment["title"].startswith(title):
                return payload


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

    def inhibited(self, many: int) -> list[Taken]:
        """Return the alerts that another one inhibits, once they are as many: causes come in one by one."""
        deadline = time.monotonic() + 10
        while len(found := self._taken(inhibited=True)) < many and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

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
def alertmanager(program: Callable[[str], Path], tmp_path: Path) -> Iterator[Callable[..., Alertmanager]]:
    """Return a function that starts Alertmanager on a configuration and waits until it answers."""
    running: list[subprocess.Popen[bytes]] = []

    def start(configuration: Path, external_url: str = "http://localhost:9093") -> Alertmanager:
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
                        f"--web.external-url={external_url}",
                        "--web.route-prefix=/",
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
