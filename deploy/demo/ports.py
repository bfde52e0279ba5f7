"""The demo's ports on 127.0.0.1, and whether they can be had."""

from __future__ import annotations

import socket
from typing import NamedTuple

_ROOTS_LAST = 1023


class BusyError(Exception):
    """A port is in use; the text says which, and what to type."""


class Ports(NamedTuple):
    """Who listens where on 127.0.0.1."""

    app: int = 8000
    exporter: int = 9717
    prometheus: int = 9090
    alertmanager: int = 9093
    slack: int = 9094

    @classmethod
    def above(cls, base: int) -> Ports:
        """All in a row from `base`.

        Raises:
            ValueError: they would be root's or no ports at all.
        """
        last = 65536 - len(cls._fields)
        if not _ROOTS_LAST < base <= last:
            raise ValueError(f"{base} is not from {_ROOTS_LAST + 1} to {last}")
        return cls(*range(base, base + len(cls._fields)))

    def busy(self) -> list[str]:
        """Those that somebody else has, each with the name of the part that wants it."""
        return [f"{port} ({name})" for name, port in self._asdict().items() if not _free(port)]

    def check(self) -> None:
        """Refuse ports that others have.

        Raises:
            BusyError: which they are, and what to type.
        """
        if busy := self.busy():
            base = next(base for base in range(20000, 60000, 100) if not Ports.above(base).busy())
            raise BusyError(f'in use: port {", ".join(busy)}. Type: make demo DEMO_ARGS="--port-base {base}"')


def _free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: connections that have ended are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
