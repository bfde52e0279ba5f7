"""The demo's app: a small WSGI shop with one page for each way a worker comes to grief.

Standard library only, as it stands for any app: floodmark watches it from outside and needs nothing in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import html
import os
import sqlite3
import tempfile
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

MIB = 1 << 20

# MiB a worker may keep: without a memory cgroup the leak would be the whole machine's.
_MOST = float(os.environ.get("DEMO_LEAK_MOST", "inf"))
_MESSAGES = os.environ.get("DEMO_MESSAGES", "")

# What /upload keeps and never lets go of: the leak.
_kept: list[bytearray] = []


class BadRequestError(Exception):
    """The query can't be used; the text says why."""


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Serve one request (PEP 3333)."""
    page = _PAGES.get(environ.get("PATH_INFO", "/"))
    try:
        status, text = ("404 Not Found", "no such page") if page is None else ("200 OK", page(environ))
    except BadRequestError as error:
        status, text = "400 Bad Request", str(error)
    body = _LAYOUT.replace("{{text}}", html.escape(text) if status != "200 OK" else text).encode()
    headers = [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response(status, headers)
    return [body]


def _front(_environ: WSGIEnvironment) -> str:
    return _FRONT + (f'<p><a href="{html.escape(_MESSAGES)}">The messages</a></p>' if _MESSAGES else "")


def _report(environ: WSGIEnvironment) -> str:
    """Wait for a database (SQLite) that somebody else has locked: no CPU, and inside C.

    Python's signal handlers don't run meanwhile, as with psycopg. So gunicorn's SIGABRT at the timeout does
    nothing, its SIGKILL follows, and its log asks "Perhaps out of memory?".
    """
    seconds = _number(environ, "seconds", usual=2, most=3600)
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/shop.db"
        with (
            contextlib.closing(sqlite3.connect(file, isolation_level=None)) as holder,
            contextlib.closing(sqlite3.connect(file, isolation_level=None, timeout=seconds)) as waiter,
            contextlib.suppress(sqlite3.OperationalError),  # "database is locked", after all that time
        ):
            holder.execute("BEGIN EXCLUSIVE")
            waiter.execute("BEGIN EXCLUSIVE")
    return f"The report took {seconds:g} s, all of them spent waiting for a lock."


def _upload(environ: WSGIEnvironment) -> str:
    """Take an upload and forget to let go of it."""
    mib = _number(environ, "mib", usual=8, most=64)
    held = sum(map(len, _kept)) / MIB
    if held + mib > _MOST:
        return f"Worker {os.getpid()} keeps {held:g} MiB. No memory limit guards this machine: no more of it."
    # Written to, page by page: memory that is only asked for costs nothing yet.
    _kept.append(bytearray(b"x") * int(mib * MIB))
    return f"Took {mib:g} MiB. Worker {os.getpid()} now keeps {held + mib:g} MiB of uploads for good."


def _burn(environ: WSGIEnvironment) -> str:
    """Compute something nobody asked for."""
    seconds = _number(environ, "seconds", usual=2, most=60)
    end = time.monotonic() + seconds
    rounds = 0
    while time.monotonic() < end:
        hashlib.sha256(bytes(1 << 14)).digest()
        rounds += 1
    return f"Burned {seconds:g} s of CPU on {rounds} hashes."


def _number(environ: WSGIEnvironment, name: str, *, usual: float, most: float) -> float:
    """A number of the query string, `usual` if it isn't there.

    Raises:
        BadRequestError: not a number from 0 to `most`.
    """
    given = parse_qs(environ.get("QUERY_STRING", "")).get(name, [str(usual)])[0]
    try:
        number = float(given)
    except ValueError:
        number = -1
    if not 0 <= number <= most:  # false for nan too
        raise BadRequestError(f"{name} is a number from 0 to {most:g}")
    return number


_PAGES: dict[str, Callable[[WSGIEnvironment], str]] = {
    "/": _front,
    "/report": _report,
    "/upload": _upload,
    "/burn": _burn,
}

_FRONT = """
<p>A small app under gunicorn, with four workers. Do it harm, and see what floodmark makes of it.</p>
<dl>
  <dt><a href="/report?seconds=3">A slow report</a></dt>
  <dd>The worker waits 3 s for a locked database. Open four at once and nobody else is served.</dd>
  <dt><a href="/report?seconds=60">A report that never ends</a></dt>
  <dd>Longer than gunicorn's timeout: it kills the worker, and its log says <q>Perhaps out of memory?</q></dd>
  <dt><a href="/upload?mib=32">An upload that leaks</a></dt>
  <dd>The worker keeps 32 MiB for good. Again and again, and the kernel kills it, where there is a limit.</dd>
  <dt><a href="/burn?seconds=5">A burner</a></dt>
  <dd>5 s of a whole CPU.</dd>
</dl>
"""

_LAYOUT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>shop</title>
<style>
  body { font: 16px/1.55 system-ui, sans-serif; max-width: 38rem; margin: 3rem auto; padding: 0 1.2rem;
         color: #23272e; background: #fbfaf8 }
  h1 { font-size: 1.5rem; margin: 0 0 1.2rem } h1 a { color: inherit; text-decoration: none }
  dt { margin-top: 1.1rem; font-weight: 600 } dd { margin: .1rem 0 0; color: #5b626d }
  a { color: #1264a3 }
</style>
<h1><a href="/">shop</a></h1>
<div>{{text}}</div>
</html>
"""
