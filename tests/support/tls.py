"""A TLS server that nobody vouches for."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def untrusted(folder: Path) -> Iterator[int]:
    """Yield the port of a server that takes one connection, with a certificate it signed itself.

    Args:
        folder: where its key goes.
    """
    if not (openssl := shutil.which("openssl")):
        pytest.skip("no openssl")
    key, certificate = folder / "key", folder / "certificate"
    asked = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x"]
    subprocess.run([*asked, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with (
        socket.create_server(("127.0.0.1", 0)) as plain,
        context.wrap_socket(plain, server_side=True) as server,
    ):
        thread = threading.Thread(target=_refuse, args=(server,))
        thread.start()
        yield server.getsockname()[1]
        thread.join()


def _refuse(server: ssl.SSLSocket) -> None:
    with contextlib.suppress(OSError):  # the client hangs up within the handshake
        server.accept()
