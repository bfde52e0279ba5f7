"""Whether any process has a file open for writing: asked of the kernel itself, by a read lease (fcntl(2)).

    fcntl(fd, F_SETLEASE, F_RDLCK)  -> EAGAIN while the file is open for writing or mapped from such an open

The answer holds for every process of the host, whatever its user, PID namespace or container, for inherited
descriptors and for mappings whose descriptor is closed. While the lease is held, whoever opens the file for
writing waits in open(2), and F_GETLEASE tells that somebody does; /proc/sys/fs/lease-break-time (45 s)
bounds it. Only the file's owner may, or CAP_LEASE. File systems without leases (NFS, 9p) answer an error.
"""

from __future__ import annotations

import errno
import fcntl
import signal


def take(descriptor: int) -> bool:
    """Take a lease on a file that is open read-only; False while somebody has it open for writing.

    It ends with the descriptor.

    Raises:
        PermissionError: another user's file, and no CAP_LEASE.
        OSError: this file system can't tell.
    """
    # Else a break is told by SIGIO, whose default is to end us; SIGURG is ignored by default.
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            return False
        raise
    return True


def holds(descriptor: int) -> bool:
    """Tell whether nobody has opened the file for writing since the lease was taken."""
    return fcntl.fcntl(descriptor, fcntl.F_GETLEASE) == fcntl.F_RDLCK
