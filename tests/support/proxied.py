"""The killable app with a page that isn't there; run by real gunicorn behind real proxies, live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support import killable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Do as the killable app, or answer 404."""
    try:
        return killable.app(environ, start_response)
    except KeyError:
        start_response("404 Not Found", [])
        return []
