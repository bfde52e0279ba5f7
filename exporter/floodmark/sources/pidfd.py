"""How a process ended that isn't our child: pidfd's PIDFD_GET_INFO (linux/pidfd.h), kernel >= 6.15.

    struct pidfd_info, 64 bytes: mask, cgroupid, pid, tgid, ppid, 8 credentials, exit_code

No privilege is needed, and it works across pid namespaces. poll() says POLLIN for a zombie, which has no
exit information yet, and POLLHUP once it was reaped: only then it's worth asking.
"""

from __future__ import annotations

import fcntl
import os
import struct

_GET_INFO = 0xC040FF0B
_INFO = struct.Struct("=QQ11Ii")
_REQUEST = 0b1111
_HAS_EXIT = 0b1000  # unset in the answer: still alive, or an event of another; the code would read as exit 0
_PROBE = 7  # any exit code but 0, which an ignored request would leave too


def open_pidfd(pid: int) -> int:
    """Return a descriptor for a process.

    Raises:
        OSError: no such process, or a kernel older than 5.3.
    """
    return os.pidfd_open(pid)


def parse(info: bytes) -> int | None:
    """Return the wait status in a struct pidfd_info, or None where it holds none."""
    mask, *_, exit_code = _INFO.unpack_from(info)
    return exit_code if mask & _HAS_EXIT else None


def exit_status(pidfd: int) -> int | None:
    """Return the wait status of a reaped process, None while it lives or where the kernel can't tell."""
    info = bytearray(_INFO.size)
    _INFO.pack_into(info, 0, _REQUEST, *[0] * 13)
    try:
        fcntl.ioctl(pidfd, _GET_INFO, info)
    except OSError:
        return None
    return parse(bytes(info))


def available() -> bool:
    """Tell whether this kernel answers PIDFD_GET_INFO with exit information, by a child made to try it."""
    child = os.fork()
    if not child:
        os._exit(_PROBE)
    try:
        descriptor = open_pidfd(child)
    except OSError:
        return False
    finally:
        os.waitpid(child, 0)
    try:
        return exit_status(descriptor) == _PROBE << 8
    finally:
        os.close(descriptor)
