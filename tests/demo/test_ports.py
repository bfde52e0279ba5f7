from __future__ import annotations

import socket

import pytest

from deploy.demo.ports import BusyError, Ports


def _ports_with(part: str, kind: socket.SocketKind) -> tuple[Ports, socket.socket]:
    """Free ports, but for the one of `part`, which the socket holds."""
    base = next(base for base in range(30000, 60000, 10) if not Ports.above(base).busy())
    ports = Ports.above(base)
    holder = socket.socket(socket.AF_INET, kind)
    holder.bind(("127.0.0.1", getattr(ports, part)))
    if kind is socket.SOCK_STREAM:
        holder.listen()
    return ports, holder


@pytest.mark.parametrize(
    ("part", "kind"), [("prometheus", socket.SOCK_STREAM), ("statsd", socket.SOCK_DGRAM)], ids=["tcp", "udp"]
)
def test_a_busy_port_is_named_with_its_part_and_what_to_type(part: str, kind: socket.SocketKind) -> None:
    ports, holder = _ports_with(part, kind)
    with holder, pytest.raises(BusyError) as caught:
        ports.check()
    told = str(caught.value)
    assert told.startswith(f"in use: port {getattr(ports, part)} ({part}). Type: make demo DEMO_ARGS=")
    base = int(told.rpartition(" ")[2].rstrip('"'))
    Ports.above(base).check()


@pytest.mark.parametrize("base", [-1, 0, 1023, 65531])
def test_a_base_that_gives_no_usable_ports_is_refused(base: int) -> None:
    with pytest.raises(ValueError, match="is not from 1024 to 65530"):
        Ports.above(base)
