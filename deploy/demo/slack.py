"""A web server that stands in for Slack: a webhook that takes and refuses as Slack's does, and a page.

Answers as https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks says. What Alertmanager
posts to it:

    {"username": "floodmark", "attachments": [{"color": "danger", "title": "...", "mrkdwn_in": ["text"],
     "title_link": "https://...", "text": "*bold* `code` <https://...|text> :fire:",
     "fields": [{"title": "...", "value": "...", "short": true}],
     "actions": [{"type": "button", "text": "Runbook", "url": "https://..."}]}]}
"""

from __future__ import annotations

import html
import json
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from deploy.demo import slack_page, slack_rules
from deploy.demo.slack_rules import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# The one webhook there is, as Slack writes them: workspace, webhook, secret.
WEBHOOK = "/services/T0000/B0000/demo"

_MOST_BYTES = 1 << 20
_MOST_MESSAGES = 200


@dataclass(frozen=True, slots=True)
class Message:
    """One message: its number from 1, the Unix time it came at, and the payload as it came."""

    number: int
    time: float
    payload: dict[str, Any]

    def notice(self) -> str:
        """What a phone's notification shows: title and fallback of the first attachment, else the text."""
        first = (self.payload.get("attachments") or [{}])[0]
        said = [self.payload.get("text"), first.get("title"), first.get("fallback") or first.get("text")]
        lines = [str(text).strip().partition("\n")[0] for text in said if text]
        return "\n".join(html.unescape(slack_page.emoji(line)) for line in lines)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer given whatever comes: Slack is down, or the webhook's channel is gone."""

    status: int
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = "text/html"  # Slack's own, for "ok" too


TOO_MANY = Answer(HTTPStatus.TOO_MANY_REQUESTS, "rate_limited", {"Retry-After": "30"})


class Page(ThreadingHTTPServer):
    """The web server: POST to WEBHOOK is the webhook, / the page, /messages the same as JSON.

    Args:
        address: host and port to listen on.
        heard: called with each message, in the thread of its request.

    Attributes:
        messages: what was taken, oldest first.
        refused: Slack's word for each one that was not, and its body.
        answers: what the next requests get, whatever they bring.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], heard: Callable[[Message], None]) -> None:
        self.messages: deque[Message] = deque(maxlen=_MOST_MESSAGES)
        self.refused: deque[tuple[str, bytes]] = deque(maxlen=_MOST_MESSAGES)
        self.answers: deque[Answer] = deque()
        self._count = 0
        self._lock = threading.Lock()
        self._heard = heard
        super().__init__(address, _Handler)

    def receive(self, path: str, body: bytes, content_type: str) -> Answer:
        """Take what was posted, or refuse it."""
        if self.answers:
            return self.answers.popleft()
        try:
            _known(path)
            self._take(parse(body, content_type))
        except RefusedError as error:
            self.refused.append((error.word, body))
            return Answer(error.status, error.word)
        return Answer(HTTPStatus.OK, "ok")

    def _take(self, payload: dict[str, Any]) -> None:
        with self._lock:
            self._count += 1
            message = Message(self._count, time.time(), payload)
            self.messages.append(message)
        self._heard(message)


class _Handler(BaseHTTPRequestHandler):
    server: Page
    timeout = 10
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        messages = list(self.server.messages)
        if path == "/":
            self._answer(HTTPStatus.OK, slack_page.render(messages), "text/html; charset=utf-8")
        elif path == "/messages":
            shown = [{"number": m.number, "time": m.time, "payload": m.payload} for m in messages]
            self._answer(HTTPStatus.OK, json.dumps(shown), "application/json")
        else:
            self._answer(HTTPStatus.NOT_FOUND, "not found")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) <= _MOST_BYTES:
            body = self.rfile.read(int(length))
            answer = self.server.receive(self.path, body, self.headers.get("Content-Type", ""))
        else:
            self.close_connection = True  # the body may still be on its way
            answer = Answer(HTTPStatus.BAD_REQUEST, "invalid_payload")
        self._answer(answer.status, answer.body, answer.kind, answer.headers)

    def _answer(
        self,
        status: int,
        text: str,
        kind: str = "text/plain; charset=utf-8",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header(
            "Content-Security-Policy",
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        )
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Say nothing: the demo's terminal is for people."""


def _known(path: str) -> None:
    """Refuse an address that is no webhook, or another one than WEBHOOK.

    Raises:
        RefusedError: with the word that tells which part is wrong.
    """
    _, *given = path.partition("?")[0].split("/")
    _, *right = WEBHOOK.split("/")
    if len(given) != len(right) or given[0] != right[0]:
        raise RefusedError("no_service", HTTPStatus.NOT_FOUND)
    _, workspace, service, token = (one == other for one, other in zip(given, right, strict=True))
    if not workspace:
        raise RefusedError("no_team", HTTPStatus.NOT_FOUND)
    if not service:
        raise RefusedError("no_service", HTTPStatus.NOT_FOUND)
    if not token:
        raise RefusedError("invalid_token", HTTPStatus.FORBIDDEN)


def parse(body: bytes, content_type: str) -> dict[str, Any]:
    """A webhook's payload: JSON, or a form whose field `payload` is JSON.

    Raises:
        RefusedError: Slack would refuse it too.
    """
    try:
        text = body.decode()
        if content_type.startswith("application/x-www-form-urlencoded"):
            text = parse_qs(text, strict_parsing=True)["payload"][0]
        payload = json.loads(text)
    except (ValueError, KeyError, RecursionError) as error:
        raise RefusedError("invalid_payload") from error
    if not isinstance(payload, dict):
        raise RefusedError("invalid_payload")
    slack_rules.check(payload)
    return payload
