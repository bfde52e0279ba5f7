"""A listening socket, whichever source told of it, and its address as gunicorn writes it."""

from __future__ import annotations

import os
import socket
from typing import NamedTuple


class Listener(NamedTuple):
    """A listening socket and its backlog: the connections that nobody has accepted yet.

    Attributes:
        address: ``127.0.0.1:8000``, ``[::]:8000`` or ``unix:/run/shop.sock``.
        endpoint: what its accepted connections share with it: the port, or a unix socket's address.
        queued: connections that wait, None where the source doesn't tell.
        limit: how many may, None where the source doesn't tell.
    """

    address: str
    endpoint: int | str
    queued: int | None
    limit: int | None

    @property
    def family(self) -> socket.AddressFamily:
        """The address family, its connections' too: those from IPv4 to ``[::]`` are of AF_INET6."""
        if isinstance(self.endpoint, str):
            return socket.AF_UNIX
        return socket.AF_INET6 if self.address.startswith("[") else socket.AF_INET


class Connections(NamedTuple):
    """Inodes of accepted connections; ``unix``: of every unix socket made in that network namespace.

    A connection to a unix socket belongs to the namespace of who connected (a proxy in a container): it isn't
    told with the others. Who holds a unix socket that isn't of its own namespace has accepted it.
    """

    accepted: frozenset[int]
    unix: frozenset[int] | None = None


def tcp_address(address: bytes, port: int) -> str:
    """Return host and port of an address in network order: 4 bytes, or 16 for IPv6."""
    if len(address) == 4:  # noqa: PLR2004 - bytes of an IPv4 address
        return f"{socket.inet_ntop(socket.AF_INET, address)}:{port}"
    return f"[{socket.inet_ntop(socket.AF_INET6, address)}]:{port}"


def unix_address(name: bytes) -> str:
    """Return the address of a unix socket; an abstract one's name starts with NUL (in /proc with ``@``)."""
    text = os.fsdecode(name)
    if text.startswith("\0"):
        return f"unix:@{text[1:]}"
    return f"unix:{text.rstrip(chr(0))}"
