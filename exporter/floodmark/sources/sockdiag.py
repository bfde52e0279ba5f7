"""Listening sockets, their backlogs and accepted connections: NETLINK_SOCK_DIAG, sock_diag(7).

It tells the sockets of the network namespace it is asked in; in our own no privilege is needed. After the
nlmsghdr (=IHHII):

    inet_diag_msg, 72 bytes: family, state, timer, retrans =BBBB | ports !HH | addresses 16s16s | =I8s
                             | expires, rqueue, wqueue, uid, inode =IIIII
    unix_diag_msg, 16 bytes: family, type, state, pad =BBBB | inode =I | cookie 8s | attributes

Of a listening TCP socket rqueue is what waits to be accepted and wqueue how many may; of a unix one
attribute 4 (UDIAG_SHOW_RQLEN) says both. A connection that nobody has accepted has inode 0.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
from typing import TYPE_CHECKING

from floodmark.sources.listening import Connections, Listener, tcp_address, unix_address

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path
    from typing import Self

_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_INET_REQUEST = struct.Struct("=BBBxI48x")
_UNIX_REQUEST = struct.Struct("=BBxxIIII4x")
_INET = struct.Struct("=BBxx2s2x16s16x12x4xII4xI")
_UNIX = struct.Struct("=BBBxI8x")
_ATTRIBUTE = struct.Struct("=HH")
_TWO = struct.Struct("=II")
_LISTEN = 10
_LISTENING = 1 << _LISTEN
# ESTABLISHED, FIN_WAIT1 and 2, CLOSE_WAIT, LAST_ACK, CLOSING: what a process may hold and work for.
_CONNECTED = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11
_UNIX_NAME, _UNIX_QUEUE = 0, 4
_CLONE_NEWNET = 0x40000000
_SHOW_NAME, _SHOW_QUEUE = 0x1, 0x10
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_TIMEOUT = 1.0  # seconds; the kernel answers at once or not at all


class SockDiag:
    """Asks the kernel for the sockets of a network namespace.

    Args:
        namespace: a process's ns/net, None for our own; needs CAP_SYS_ADMIN and CAP_SYS_PTRACE.

    Raises:
        OSError: the kernel has no sock_diag, or it's not allowed to ask in there.
    """

    def __init__(self, namespace: Path | None = None) -> None:
        self._socket = _open_in(namespace) if namespace else _open()
        self._socket.settimeout(_TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def listeners(self) -> Mapping[int, Listener]:
        """Return the listening TCP and unix sockets by inode.

        Raises:
            OSError: the kernel refuses.
        """
        found: dict[int, Listener] = {}
        for family in _FAMILIES:
            found.update(parse_listeners(self._ask(_inet_request(family, _LISTENING))))
        found.update(parse_listeners(self._ask(_unix_request(_LISTENING, _SHOW_NAME | _SHOW_QUEUE))))
        return found

    def connections(self, listeners: Collection[Listener]) -> Connections:
        """Return what these listeners have accepted.

        Raises:
            OSError: the kernel refuses.
        """
        accepted: set[int] = set()
        for listener in listeners:
            if isinstance(listener.endpoint, int):
                request = _inet_request(listener.family, _CONNECTED, _local_port(listener.endpoint))
                accepted |= {inode for inode, port in parse_connections(self._ask(request)) if inode}
        if all(isinstance(listener.endpoint, int) for listener in listeners):
            return Connections(frozenset(accepted))
        unix = dict(parse_connections(self._ask(_unix_request(0xFFF, _SHOW_NAME))))
        endpoints: set[int | str | None] = {listener.endpoint for listener in listeners}
        accepted |= {inode for inode, name in unix.items() if name in endpoints}
        return Connections(frozenset(accepted), frozenset(unix))

    def _ask(self, request: bytes) -> bytes:
        """Return the kernel's whole answer to a dump request."""
        header = _HEADER.pack(_HEADER.size + len(request), _BY_FAMILY, _REQUEST_DUMP, 0, 0)
        self._socket.send(header + request)
        answer = b""
        while True:
            part = self._socket.recv(1 << 16)
            answer += part
            _, kind, *_ = _HEADER.unpack_from(part)
            if kind == _ERROR:
                code = -int.from_bytes(part[_HEADER.size : _HEADER.size + 4], sys.byteorder, signed=True)
                raise OSError(code, os.strerror(code))
            if kind == _DONE:
                return answer


def parse_listeners(answer: bytes) -> Iterator[tuple[int, Listener]]:
    """Yield inode and listener for each listening socket that has a name."""
    for message in _messages(answer):
        if message[0] != socket.AF_UNIX:
            family, state, local_port, address, queued, limit, inode = _INET.unpack_from(message)
            if state == _LISTEN:
                port = int.from_bytes(local_port, "big")
                host = address[:4] if family == socket.AF_INET else address
                yield inode, Listener(tcp_address(host, port), port, queued, limit)
            continue
        _, _, state, inode = _UNIX.unpack_from(message)
        attributes = _attributes(message)
        if state == _LISTEN and attributes.keys() >= {_UNIX_NAME, _UNIX_QUEUE}:
            name = unix_address(attributes[_UNIX_NAME])
            yield inode, Listener(name, name, *_TWO.unpack(attributes[_UNIX_QUEUE]))


def parse_connections(answer: bytes) -> Iterator[tuple[int, int | str | None]]:
    """Yield inode and endpoint of each socket: its local port or unix address, None for one that listens."""
    for message in _messages(answer):
        endpoint: int | str
        if message[0] != socket.AF_UNIX:
            _, state, local_port, _, _, _, inode = _INET.unpack_from(message)
            endpoint = int.from_bytes(local_port, "big")
        else:
            _, _, state, inode = _UNIX.unpack_from(message)
            endpoint = unix_address(_attributes(message).get(_UNIX_NAME, b""))
        yield inode, None if state == _LISTEN else endpoint


def _messages(answer: bytes) -> Iterator[bytes]:
    """Yield what the kernel answered, without the netlink headers."""
    at = 0
    while at + _HEADER.size <= len(answer):
        length, kind, *_ = _HEADER.unpack_from(answer, at)
        if length < _HEADER.size or at + length > len(answer):
            return
        if kind == _BY_FAMILY:
            yield answer[at + _HEADER.size : at + length]
        at += length + -length % 4


def _attributes(message: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = _UNIX.size
    while at + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind] = message[at + _ATTRIBUTE.size : at + length]
        at += length + -length % 4
    return found


def _inet_request(family: int, states: int, chosen: bytes = b"") -> bytes:
    return _INET_REQUEST.pack(family, socket.IPPROTO_TCP, 0, states) + chosen


def _unix_request(states: int, show: int) -> bytes:
    return _UNIX_REQUEST.pack(socket.AF_UNIX, 0, states, 0, show, 0)


def _local_port(port: int) -> bytes:
    """Return the attribute (INET_DIAG_REQ_BYTECODE) that has the kernel pick connections by local port."""
    at_least, at_most = 2, 3  # INET_DIAG_BC_S_GE and S_LE
    operation = struct.Struct("=BBH")  # code, step if true, step if false; the port stands in a second one
    program = b"".join(
        operation.pack(code, 8, rest) + operation.pack(0, 0, port)
        for code, rest in ((at_least, 20), (at_most, 12))
    )
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(program), 1) + program


def _open() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG)


def _open_in(namespace: Path) -> socket.socket:
    """Open a socket in another network namespace: it stays there, whoever uses it.

    Only a thread of its own ever enters that namespace, and ends at once.
    """
    # Costs memory that is spared where every gunicorn is in our own namespace.
    import ctypes  # noqa: PLC0415 - as said; os.setns came with Python 3.12

    opened: list[socket.socket | OSError] = []

    def enter() -> None:
        try:
            with namespace.open() as file:
                failed = ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET)
            opened.append(OSError(ctypes.get_errno(), "setns") if failed else _open())
        except OSError as error:
            opened.append(error)

    thread = threading.Thread(target=enter, name="setns")
    thread.start()
    thread.join()
    (result,) = opened
    if isinstance(result, OSError):
        raise result
    return result
