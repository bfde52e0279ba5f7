"""/proc/PID/net/tcp, tcp6 and unix: the sockets of a process's network namespace, proc(5).

Anyone may read them, for any process. tcp (addresses are 32-bit words in the host's order; state 0A listens):

    sl local_address rem_address   st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode
     0: 0100007F:1F40 00000000:0000 0A 00000000:00000003 00:00000000 00000000 0 0 354513 1 ...

unix (flags 00010000: listens):

    Num       RefCount Protocol Flags    Type St Inode Path
    00000000: 00000002 00000000 00010000 0001 01 366306 /run/shop.sock
    00000000: 00000003 00000000 00000000 0001 03 366309 /run/shop.sock

rx_queue of a listening TCP socket is its backlog. A unix one's isn't told: who waits there has no inode, and
is listed in the namespace it connected from. How many may wait is told of neither.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from floodmark.sources.listening import Listener, tcp_address, unix_address

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_LISTEN = "0A"
_LISTENING = 0x10000  # SO_ACCEPTCON
_PATH = 7  # the field of unix that a socket without a name doesn't have


class Sockets(NamedTuple):
    """Listening sockets by inode, and for each other socket's inode its port or unix address."""

    listeners: Mapping[int, Listener]
    others: Mapping[int, int | str]


def read(proc: Path, pid: int) -> Iterator[Sockets]:
    """Yield the IPv4, the IPv6 and the unix sockets of a process's network namespace.

    On a big host the kernel takes milliseconds for each of the first two, however few sockets there are:
    stop when what was looked for is found.

    Raises:
        OSError: it has ended.
        ValueError: not the format above.
    """
    for name, parse in (("tcp", parse_tcp), ("tcp6", parse_tcp), ("unix", parse_unix)):
        try:
            with open(f"{proc}/{pid}/net/{name}", errors="surrogateescape") as file:  # noqa: PTH123 - as process.py
                text = file.read()
        except FileNotFoundError:
            if name != "tcp6":  # a kernel without IPv6 has none
                raise
        else:
            yield parse(text)


def parse_tcp(text: str) -> Sockets:
    """Parse tcp or tcp6."""
    listeners: dict[int, Listener] = {}
    others: dict[int, int | str] = {}
    for line in text.splitlines()[1:]:
        _, local, _, state, queues, _, _, _, _, inode, *_ = line.split()
        address, port = local.split(":")
        number = int(port, 16)
        if state == _LISTEN:
            where = tcp_address(_network_order(address), number)
            listeners[int(inode)] = Listener(where, number, int(queues.partition(":")[2], 16), None)
        elif inode != "0":
            others[int(inode)] = number
    return Sockets(listeners, others)


def parse_unix(text: str) -> Sockets:
    """Parse unix."""
    listeners: dict[int, Listener] = {}
    others: dict[int, int | str] = {}
    for line in text.splitlines()[1:]:
        fields = line.split(None, _PATH)
        address, inode = unix_address(os.fsencode("".join(fields[_PATH:]))), int(fields[6])
        if int(fields[3], 16) & _LISTENING:
            listeners[inode] = Listener(address, address, None, None)
        elif inode:
            others[inode] = address
    return Sockets(listeners, others)


def _network_order(words: str) -> bytes:
    raw = bytes.fromhex(words)
    if sys.byteorder == "big":
        return raw
    return b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
