"""Exit 0 if the exporter in this container answers /healthz with 200, else 1.

A bare socket, as it runs every 15 s within the exporter's own memory limit: urllib takes twice the memory.
"""

import os
import socket
import sys


def healthy(listen: str) -> bool:
    """Ask the exporter that listens on ``listen`` (host:port); wildcard hosts are asked on loopback."""
    host, _, port = listen.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))  # noqa: S104 - compared, not bound
    try:
        with socket.create_connection((host, int(port)), timeout=4) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            status = connection.makefile("rb").readline(64).split()
    except OSError as error:
        print(f"{listen}: {error}")
        return False
    print(b" ".join(status).decode("latin-1"))
    return status[1:2] == [b"200"]


if __name__ == "__main__":
    sys.exit(not healthy(os.environ.get("FLOODMARK_LISTEN", "127.0.0.1:9717")))
