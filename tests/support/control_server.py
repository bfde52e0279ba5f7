"""A control socket that is served by the test itself, and says whatever it shall."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable


def framed(payload: bytes) -> bytes:
    """Return a message."""
    return struct.pack(">I", len(payload)) + payload


def answer(data: object, status: str = "ok") -> bytes:
    """Return an answer as gunicorn gives it."""
    return framed(json.dumps({"id": 1, "status": status, "data": data}).encode())


class Server:
    """A control socket of this process.

    Args:
        name: of the socket, in the current folder: of a whole path there may be too much for an address.

    Attributes:
        path: of the socket.
        heard: what was sent to it.
        speak: gets each connection once its question was read.
    """

    def __init__(self, name: str) -> None:
        self.path = str(Path(name).absolute())
        self.speak: Callable[[socket.socket], object] = lambda _: None
        self.heard: list[bytes] = []
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(name)
        self._listening.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def says(self, said: bytes) -> None:
        """Answer every question so."""
        self.speak = lambda connection: connection.sendall(said)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(5)
                self.heard.append(connection.recv(4096))
                self.speak(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
