"""Counts the requests of an ASGI app by wrapping it.

Gunicorn's hooks are told no status there, and with one of them set a connection doesn't serve its next
request while the app still has work to do after its answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from floodmark.agent.routes import ROUTE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from floodmark.agent.requests import Hooks

    Scope = dict[str, Any]
    Message = dict[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]


_STAMPS = {b"x-request-start": "HTTP_X_REQUEST_START", b"x-queue-start": "HTTP_X_QUEUE_START"}


class Exchange:
    """Request and response in one, with the names that gunicorn's own have."""

    __slots__ = ("headers", "headers_sent", "method", "path", "scope", "status_code")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers = scope["headers"]
        self.headers_sent = False
        self.status_code = 500  # what the server answers for an app that doesn't

    def environ(self) -> dict[str, str]:
        """Return what is looked up in an environ."""
        found = {ROUTE: self.scope[ROUTE]} if ROUTE in self.scope else {}
        for name, value in self.headers:
            if name in _STAMPS:
                found[_STAMPS[name]] = value.decode("latin-1")
        return found


def counted(app: App, hooks: Hooks) -> App:
    """Return the app, its requests counted with the last byte of each answer; websockets are none."""
    begin, end = hooks.pre_request, hooks.post_request

    async def counting(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        exchange = Exchange(scope)
        ended = False

        async def sending(message: Message) -> None:
            nonlocal ended
            await send(message)
            if message["type"] == "http.response.start":
                exchange.status_code = message["status"]
                exchange.headers_sent = True
            elif message["type"] == "http.response.body" and not message.get("more_body"):
                ended = True
                end(None, exchange, exchange.environ(), exchange)

        begin(None, exchange)
        try:
            await app(scope, receive, sending)
            exchange.headers_sent = True  # with 500, the server's own answer, if the app gave none
        except Exception:
            exchange.headers_sent = True  # likewise
            raise
        finally:
            if not ended:
                end(None, exchange, exchange.environ(), exchange)

    return counting
