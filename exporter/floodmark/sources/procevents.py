"""Process events: the netlink connector CN_PROC (linux/cn_proc.h).

Every fork, exec and exit of the host with its wait status, containers' too, with host pids. A datagram:

    nlmsghdr =IHHII | cn_msg =IIIIHH | event header =IIQ (what, cpu, ns since boot) at 36 | union at 52
    fork =iiii (ppid, ptgid, pid, tgid)   exec =ii (pid, tgid)
    exit =iiIIii (pid, tgid, wait status, signal to the parent, ppid, ptgid)

Kernels before 6.x want CAP_NET_ADMIN; in another network namespace than the first it is refused
(ECONNREFUSED). IGNORE must be sent before closing, or the kernel goes on counting a listener.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONNECTOR = 11  # NETLINK_CONNECTOR
_CN_IDX_PROC = 1
_CN_VAL_PROC = 1
_LISTEN, _IGNORE = 1, 2
_NLMSG_DONE = 3
_NLMSG_ERROR = 2
_FORK, _EXEC, _EXIT = 0x1, 0x2, 0x80000000
_BUFFER = 8 << 20  # bytes; a burst of forks must not be lost while a scrape runs
_FORCE_BUFFER = 33  # SO_RCVBUFFORCE: past net.core.rmem_max, for CAP_NET_ADMIN
_HEADER = struct.Struct("=IIQ")
_HEADER_AT, _UNION_AT = 36, 52
_TWO = struct.Struct("=ii")
_FORK_EVENT = struct.Struct("=iiii")
_EXIT_EVENT = struct.Struct("=iiI")


class Fork(NamedTuple):
    """Process ``parent`` made process ``pid``."""

    parent: int
    pid: int


class Exec(NamedTuple):
    """The process runs another program now."""

    pid: int


class Exit(NamedTuple):
    """The process ended; ``status`` is its wait status."""

    pid: int
    status: int


def parse(datagram: bytes) -> Fork | Exec | Exit | None:
    """Return the event in a datagram; None for one of a thread or of another kind."""
    if len(datagram) < _UNION_AT + _EXIT_EVENT.size:
        return None
    what, _, _ = _HEADER.unpack_from(datagram, _HEADER_AT)
    if what == _FORK:
        _, parent, pid, tgid = _FORK_EVENT.unpack_from(datagram, _UNION_AT)
        return Fork(parent, pid) if pid == tgid else None
    if what == _EXEC:
        pid, tgid = _TWO.unpack_from(datagram, _UNION_AT)
        return Exec(tgid)
    if what == _EXIT:
        pid, tgid, status = _EXIT_EVENT.unpack_from(datagram, _UNION_AT)
        return Exit(pid, status) if pid == tgid else None
    return None


class ProcessEvents:
    """Listens to the process events of the whole host.

    Raises:
        OSError: not allowed here (older kernel without CAP_NET_ADMIN, or another network namespace).
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _CONNECTOR)
        try:
            self._enlarge_buffer()
            self._socket.bind((0, _CN_IDX_PROC))
            self._send(_LISTEN)
            self._socket.settimeout(0)
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._socket.fileno()

    def read(self) -> Iterator[Fork | Exec | Exit | None]:
        """Yield the events since the last call; None where some were lost: look at /proc."""
        while True:
            try:
                datagram = self._socket.recv(4096)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS: the buffer ran over
                yield None
                continue
            if event := parse(datagram):
                yield event

    def close(self) -> None:
        """Stop listening, and tell the kernel so."""
        self._send(_IGNORE)
        self._socket.close()

    def _enlarge_buffer(self) -> None:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _FORCE_BUFFER, _BUFFER)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)

    def _send(self, operation: int) -> None:
        body = struct.pack("=IIIIHHI", _CN_IDX_PROC, _CN_VAL_PROC, 0, 0, 4, 0, operation)
        self._socket.send(struct.pack("=IHHII", 16 + len(body), _NLMSG_DONE, 0, 0, os.getpid()) + body)
