"""A web server that stands in for Slack: takes what an incoming webhook takes and shows it on a page.

Answers as https://api.slack.com/messaging/webhooks says. What Alertmanager posts to it:

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
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from deploy.demo import slack_page

if TYPE_CHECKING:
    from collections.abc import Callable

# What a webhook's address looks like at Slack; any path is taken, this is the one the demo hands out.
WEBHOOK = "/services/T0000/B0000/demo"

_MOST_BYTES = 1 << 20
_MOST_MESSAGES = 200


class RefusedError(Exception):
    """The payload can't be used; the text is Slack's own word for why."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message: its number from 1, the Unix time it came at, and the payload as it came."""

    number: int
    time: float
    payload: dict[str, Any]

    def notice(self) -> str:
        """What a phone's notification shows: title and fallback of the first attachment, else the text."""
        first = (self.payload["attachments"] or [{}])[0]
        said = [self.payload.get("text"), first.get("title"), first.get("fallback") or first.get("text")]
        lines = [str(text).strip().partition("\n")[0] for text in said if text]
        return "\n".join(html.unescape(slack_page.emoji(line)) for line in lines)


class Page(ThreadingHTTPServer):
    """The web server: POST anywhere is the webhook, / the page, /messages the same as JSON.

    Args:
        address: host and port to listen on.
        heard: called with each message, in the thread of its request.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], heard: Callable[[Message], None]) -> None:
        self.messages: deque[Message] = deque(maxlen=_MOST_MESSAGES)
        self._count = 0
        self._lock = threading.Lock()
        self._heard = heard
        super().__init__(address, _Handler)

    def receive(self, payload: dict[str, Any]) -> None:
        """Keep a message and tell of it."""
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
        try:
            self.server.receive(parse(self._body(), self.headers.get("Content-Type", "")))
        except RefusedError as error:
            self.close_connection = True  # the body may still be on its way
            self._answer(HTTPStatus.BAD_REQUEST, str(error))
        else:
            self._answer(HTTPStatus.OK, "ok")

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _MOST_BYTES:
            raise RefusedError("invalid_payload")
        return self.rfile.read(int(length))

    def _answer(self, status: HTTPStatus, text: str, kind: str = "text/plain; charset=utf-8") -> None:
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
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Say nothing: the demo's terminal is for people."""


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
    attachments = payload.get("attachments") or []
    if not isinstance(attachments, list) or not all(isinstance(one, dict) for one in attachments):
        raise RefusedError("invalid_attachments")
    if not (payload.get("text") or attachments):
        raise RefusedError("no_text")
    return payload | {"attachments": attachments}
