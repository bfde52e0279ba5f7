"""sock_diag: by answers of a real kernel, and by real sockets."""

import contextlib
import json
import os
import socket
from pathlib import Path

import pytest

from floodmark.sources.listening import Listener
from floodmark.sources.sockdiag import SockDiag, parse_connections, parse_listeners

# At 127.0.0.1:18000 three connections wait, at shop.sock two; each but @shop has accepted one.
CAPTURED = json.loads((Path(__file__).parent.parent / "fixtures/attribution/sockdiag.json").read_text())
INODES = CAPTURED["inodes"]


@pytest.mark.parametrize(
    ("answer", "listeners"),
    [
        ("listening_inet", [Listener("127.0.0.1:18000", 18000, 3, 64)]),
        ("listening_inet6", [Listener("[::]:18001", 18001, 0, 128)]),
        (
            "listening_unix",
            [
                Listener("unix:shop.sock", "unix:shop.sock", 2, 32),
                Listener("unix:@shop", "unix:@shop", 0, 16),
            ],
        ),
    ],
)
def test_a_kernels_answer_tells_address_queue_and_limit(answer: str, listeners: list[Listener]) -> None:
    found = dict(parse_listeners(bytes.fromhex(CAPTURED[answer])))
    assert found == {INODES[listener.address]: listener for listener in listeners}


@pytest.mark.parametrize(
    ("answer", "accepted", "endpoint"),
    [
        ("connected_inet", "accepted 18000", 18000),
        ("connected_inet6", "accepted 18001", 18001),
        ("connected_unix", "accepted shop.sock", "unix:shop.sock"),
    ],
)
def test_only_an_accepted_connection_has_an_inode(answer: str, accepted: str, endpoint: int | str) -> None:
    found = dict(parse_connections(bytes.fromhex(CAPTURED[answer])))
    assert [inode for inode, where in found.items() if inode and where is not None] == [INODES[accepted]]
    assert found[INODES[accepted]] == endpoint


@pytest.mark.parametrize("length", [0, 10, 16])
def test_a_truncated_answer_tells_nothing(length: int) -> None:
    assert list(parse_listeners(bytes.fromhex(CAPTURED["listening_inet"])[:length])) == []


@pytest.mark.live
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_the_kernel_tells_what_waits_and_what_is_accepted(
    family: socket.AddressFamily, tmp_path: Path
) -> None:
    address: object = {
        socket.AF_INET: ("127.0.0.1", 0),
        socket.AF_INET6: ("::1", 0),
        socket.AF_UNIX: f"{tmp_path}/s",
    }[family]
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket(family))
        try:
            listening.bind(address)  # type: ignore[arg-type]  # its type depends on the family
        except OSError as error:
            pytest.skip(f"this host has no {family.name}: {error}")
        listening.listen(7)
        for _ in range(3):
            stack.enter_context(socket.socket(family)).connect(listening.getsockname())
        accepted = stack.enter_context(listening.accept()[0])
        asking = stack.enter_context(SockDiag())
        listener = asking.listeners()[os.fstat(listening.fileno()).st_ino]
        assert (listener.queued, listener.limit) == (2, 7)
        assert asking.connections([listener]).accepted == {os.fstat(accepted.fileno()).st_ino}
