"""The smallest app: what is added to a request shows most beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment


def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer the same to everything."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return (b"Hello, world\n",)
