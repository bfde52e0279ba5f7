"""Gunicorn's StatsD packets (gunicorn/instrument/statsd.py), with or without prefix and DogStatsD tags.

    shop.gunicorn.requests:1|c|@1.0
    shop.gunicorn.request.status.200:1|c|@1.0|#env:prod
    shop.gunicorn.request.duration:12.345|ms

Three packets a request; the rest of what gunicorn sends (log counters, gauges) is of no use here.
"""

from __future__ import annotations

import contextlib
import re
import selectors
import socket
import stat
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LARGEST = 8192  # bytes read of a datagram; gunicorn's have under 200
_NAME = re.compile(
    rb"(?P<prefix>.*?)\.?gunicorn\.(?:request\.(?:status\.(?P<status>[1-5]\d\d)|(?P<duration>duration))|.*)"
)


class Status(NamedTuple):
    """Requests that ended with a status code: one, but for a sampled packet."""

    prefix: str
    status: str
    requests: float


class Duration(NamedTuple):
    """A request that took so many seconds."""

    prefix: str
    seconds: float


def parse(datagram: bytes) -> Iterator[Status | Duration]:
    """Yield what a datagram's lines tell; lines about other things of gunicorn's yield nothing.

    Raises:
        ValueError: a line isn't StatsD, or isn't gunicorn's.
    """
    for line in datagram.splitlines():
        name, _, rest = line.partition(b":")
        value, *fields = rest.split(b"|")
        match = _NAME.fullmatch(name)
        if not match or not fields:
            raise ValueError(f"no StatsD line of gunicorn's: {line[:80]!r}")
        prefix = match["prefix"].decode("ascii", "replace")
        if match["status"]:
            rate = next((float(field[1:]) for field in fields if field.startswith(b"@")), 1.0)
            count = float(value) / rate if rate else -1.0
            if not 0 <= count < 1 << 32:
                raise ValueError(f"a count out of bounds: {line[:80]!r}")
            yield Status(prefix, match["status"].decode(), count)
        elif match["duration"]:
            seconds = float(value) / 1000
            if not 0 <= seconds < 1 << 32:  # also refuses nan
                raise ValueError(f"a duration out of bounds: {line[:80]!r}")
            yield Duration(prefix, seconds)


def listen_udp(host: str, port: int) -> socket.socket:
    """Return a socket for UDP packets.

    Raises:
        OSError: the address can't be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return _bound(socket.socket(family, socket.SOCK_DGRAM), (host, port))


def listen_unix(path: Path) -> socket.socket:
    """Return a unix datagram socket at a path, which every local user may send to.

    A socket that an earlier run left there is replaced.

    Raises:
        OSError: the path can't be had.
    """
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()
    receiver = _bound(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), str(path))
    path.chmod(0o666)  # the app runs as another user; who may reach it at all, the folder decides
    return receiver


def _bound(receiver: socket.socket, address: str | tuple[str, int]) -> socket.socket:
    try:
        receiver.bind(address)
    except OSError:
        receiver.close()
        raise
    return receiver


def receive(sockets: dict[socket.socket, str], take: Callable[[str, bytes], None]) -> None:
    """Call ``take`` with a socket's app and a datagram, for every datagram, for ever."""
    selector = selectors.DefaultSelector()
    for each, app in sockets.items():
        each.setblocking(False)  # noqa: FBT003 - the socket module's own signature
        selector.register(each, selectors.EVENT_READ, app)
    while True:
        for key, _ in selector.select():
            with contextlib.suppress(BlockingIOError):
                while True:
                    take(key.data, key.fileobj.recv(LARGEST))  # type: ignore[union-attr] # it is a socket
