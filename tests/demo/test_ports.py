from __future__ import annotations

import socket

import pytest

from deploy.demo.ports import BusyError, Ports


def test_a_busy_port_is_named_with_its_part_and_what_to_type() -> None:
    base = next(base for base in range(30000, 60000, 10) if not Ports.above(base).busy())
    ports = Ports.above(base)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", ports.prometheus))
        holder.listen()
        with pytest.raises(BusyError) as caught:
            ports.check()
    told = str(caught.value)
    assert told.startswith(f"in use: port {ports.prometheus} (prometheus). Type: make demo DEMO_ARGS=")
    Ports.above(int(told.rpartition(" ")[2].rstrip('"'))).check()


@pytest.mark.parametrize("base", [-1, 0, 1023, 65532])
def test_a_base_that_gives_no_usable_ports_is_refused(base: int) -> None:
    with pytest.raises(ValueError, match="is not from 1024 to 65531"):
        Ports.above(base)
