"""A worker's slab: a file of constant size that its worker maps and writes, and others read at any moment.

Every number is a double in native byte order at a multiple of 8 bytes, so that each store is one store of
the machine: whoever reads sees the old value or the new one, and a SIGKILL leaves no half. Counts are exact
up to 2**53.

    bytes     what
    0         magic, which is the layout's version too
    8         the header's cells, see Cell
    512       a slot that nobody reads
    1024      rows: length of the name, the name (UTF-8), 16 values
    24576     slots of requests in flight: method and path (UTF-8, NUL behind); the cell that is about to
              count it and that cell's value once it has, 0 before; steady seconds of its start, 0 for none
    32768     the end; after a SIGABRT faulthandler's stacks follow

A row is there once the header counts it, a slot is taken while its start isn't 0: both come last.

A worker holds a lock (flock) on its slab for its whole life. The kernel lets go of it whatever the end was,
and that tells the dead from the living, for readers in other containers and pid namespaces too.
"""

from __future__ import annotations

import enum
import errno
import fcntl
import mmap
import os
import stat
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    Rows = dict[str, list[float]]
    Slot = tuple[int, int, int, int]

MAGIC = b"floodmk1"
SIZE = 32768
SUFFIX = ".slab"
SLOTS = 32  # requests in flight that are told one by one; more of them are only counted
ROWS = 92
VALUES = 16
STACK_LIMIT = 6144  # bytes of faulthandler's text that are kept

_ROWS = 1024
_NAME = 120  # bytes
_ROW = 8 + _NAME + 8 * VALUES
_SLOTS = 24576
_TEXT = 232  # bytes
_SLOT = _TEXT + 24
_CELL = 8
# The machine stores doubles whole, but nobody promises that the kernel copies them so: a reading counts
# once the next one is equal. A slab that changes each time is busy, not torn: then the last one is taken.
_TRIES = 8

_HEADER = struct.Struct("13d")
_ALL_SLOTS = struct.Struct(f"{_TEXT}s3d" * SLOTS)
SLOT = struct.Struct(f"{_TEXT}s3d")
_NUMBER = struct.Struct("d")
_ROW_VALUES = struct.Struct(f"{VALUES}d")


class Cell(enum.IntEnum):
    """The header's cells, by their number in the file counted in doubles; those of unknown value hold NaN.

    PID, TICKS, MASTER_PID and MASTER_TICKS identify worker and master: pid in the app's own pid namespace,
    and start time as /proc/PID/stat has it. BOOTED is 1 once its app was loaded, LEFT once it went by
    gunicorn's own way out, RECYCLED where it had served as many requests as it shall. CROWD counts requests
    in flight without a slot, QUEUED a gthread worker's own queue. BLOCKS are allocated blocks; LIVE_BLOCKS
    and LIVE_BYTES what was left after the last full collection.
    """

    PID = 1
    TICKS = 2
    MASTER_PID = 3
    MASTER_TICKS = 4
    ROWS = 5
    BOOTED = 6
    LEFT = 7
    RECYCLED = 8
    CROWD = 9
    QUEUED = 10
    BLOCKS = 11
    LIVE_BLOCKS = 12
    LIVE_BYTES = 13


# What must be numbers, and at most so large, for the rest to be found.
_MOST = {
    Cell.PID: 1 << 22,
    Cell.TICKS: 1 << 53,
    Cell.MASTER_PID: 1 << 22,
    Cell.MASTER_TICKS: 1 << 53,
    Cell.ROWS: ROWS,
    Cell.CROWD: 1 << 20,
}
UNKNOWN_AT_FIRST = (Cell.QUEUED, Cell.BLOCKS, Cell.LIVE_BLOCKS, Cell.LIVE_BYTES)


class Identity(NamedTuple):
    """A process: pid in its own pid namespace, and start time in clock ticks since boot."""

    pid: int
    ticks: int

    @classmethod
    def of(cls, pid: int) -> Identity:
        """Return the identity of a process, also of a zombie.

        Raises:
            OSError: there is none.
        """
        with open(f"/proc/{pid}/stat", "rb") as file:
            return cls(pid, int(file.read().rpartition(b")")[2].split()[19]))


class Slab:
    """The writer's side, in the worker.

    Args:
        folder: the app's.
        worker: whose slab it is.
        master: its master.

    Raises:
        OSError: the file can't be made, for want of space or rights.

    Attributes:
        path: where it is.
        cells: the whole file as doubles.
        raw: the whole file as bytes.
        descriptor: stays open for the lock's sake, and is appended to by faulthandler.
    """

    def __init__(self, folder: str, worker: Identity, master: Identity) -> None:
        name = f"{worker.pid}-{worker.ticks}{SUFFIX}"
        self.path = os.path.join(folder, name)
        new = self.path + ".new"
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self.descriptor = os.open(new, flags, 0o644)
        try:
            os.fchmod(self.descriptor, 0o644)  # whatever the umask is: floodmark may be another user
            # All of it is written: a page that a full disk can't give would be a SIGBUS later on.
            written = os.write(self.descriptor, bytes(SIZE))
            if written != SIZE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301 - cleaned up below
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._map = mmap.mmap(self.descriptor, SIZE)
            self._view()
            self.cells[Cell.PID], self.cells[Cell.TICKS] = worker
            self.cells[Cell.MASTER_PID], self.cells[Cell.MASTER_TICKS] = master
            for cell in UNKNOWN_AT_FIRST:
                self.cells[cell] = float("nan")
            self.raw[: len(MAGIC)] = MAGIC
            os.rename(new, self.path)
        except BaseException:
            os.close(self.descriptor)
            os.unlink(new)
            raise

    def _view(self) -> None:
        self.raw = memoryview(self._map)
        self.cells = self.raw.cast("d")

    def row(self, name: str) -> int:
        """Make a row and return the number of its first value's cell. Not for two threads at once.

        Raises:
            IndexError: the slab is full.
        """
        used = int(self.cells[Cell.ROWS])
        if used >= ROWS:
            raise IndexError(name)
        at = _ROWS + used * _ROW
        raw = clip(name, _NAME)
        self.raw[at + 8 : at + 8 + len(raw)] = raw
        self.cells[at // _CELL] = len(raw)
        self.cells[Cell.ROWS] = used + 1
        return (at + 8 + _NAME) // _CELL

    @staticmethod
    def slot(number: int) -> Slot:
        """Return where a slot is: its first byte, for SLOT, and its three cells."""
        return _slot(_SLOTS + number * _SLOT)

    def detach(self) -> None:
        """Go on in memory of one's own: a forked child must not write to its parent's slab."""
        self._map = mmap.mmap(-1, SIZE)
        self._view()
        os.close(self.descriptor)
        self.descriptor = -1


def _slot(at: int) -> Slot:
    cell = (at + _TEXT) // _CELL
    return at, cell, cell + 1, cell + 2


CROWD = _slot(512)  # nobody reads it: for requests that find none free


def clip(text: str, limit: int) -> bytes:
    """Return a text as UTF-8 of at most so many bytes."""
    raw = text.encode("utf-8", "replace")
    return raw if len(raw) <= limit else raw[:limit].decode("utf-8", "ignore").encode()


class InFlight(NamedTuple):
    """A request in flight: steady seconds when it began, and ``METHOD /path``."""

    started: float
    text: str


class Snapshot(NamedTuple):
    """A slab at one moment.

    Attributes:
        content: its bytes.
        alive: its worker lives.
        owner: user id of the file's owner.
        stack: what faulthandler wrote at a SIGABRT, at most STACK_LIMIT bytes; None for nothing.
    """

    content: bytes
    alive: bool
    owner: int
    stack: str | None

    def header(self) -> tuple[float, ...]:
        """Return the header, by Cell."""
        return (0.0, *_HEADER.unpack_from(self.content, 8))

    def worker(self) -> Identity:
        """Return the worker's identity, in its own pid namespace."""
        header = self.header()
        return Identity(int(header[Cell.PID]), int(header[Cell.TICKS]))

    def rows(self) -> Rows:
        """Return the rows by name."""
        (used,) = _NUMBER.unpack_from(self.content, 8 * Cell.ROWS)
        return {
            self._string(at, _NAME): list(_ROW_VALUES.unpack_from(self.content, at + 8 + _NAME))
            for at in range(_ROWS, _ROWS + min(int(used), ROWS) * _ROW, _ROW)
        }

    def in_flight(self) -> list[InFlight]:
        """Return the requests in flight that have a slot, oldest first."""
        values = iter(_ALL_SLOTS.unpack_from(self.content, _SLOTS))
        return sorted(
            InFlight(started, text.rstrip(b"\0").decode("utf-8", "ignore"))
            for text, cell, count, started in zip(values, values, values, values)
            if started and not self._counted(cell, count)
        )

    def _counted(self, cell: float, count: float) -> bool:
        """Tell whether a request was counted by that cell when its slot wasn't free yet."""
        if not (count and 0 <= cell < SIZE // _CELL):
            return False
        (value,) = _NUMBER.unpack_from(self.content, int(cell) * _CELL)
        return bool(value >= count)

    def _string(self, at: int, limit: int) -> str:
        (length,) = _NUMBER.unpack_from(self.content, at)
        end = at + 8 + (int(length) if 0 <= length <= limit else 0)
        return self.content[at + 8 : end].decode("utf-8", "replace")


def read(path: str) -> Snapshot:
    """Read a slab.

    Raises:
        OSError: it can't be read, or is gone.
        ValueError: it isn't a slab of this version.
    """
    # A stranger may have put anything there: never follow a link, never wait for a pipe, never map what
    # could be cut short under the reader's feet.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("no slab: not a file")
        alive = _locked(descriptor)  # before its content: what a dead one holds is final
        content = os.pread(descriptor, SIZE, 0)
        for _ in range(_TRIES):
            again = os.pread(descriptor, SIZE, 0)
            if again == content:
                break
            content = again
        if len(content) != SIZE or not content.startswith(MAGIC):
            raise ValueError("no slab, or another version's")
        seen = Snapshot(content, alive, status.st_uid, _stack(descriptor))
        if not _plausible(seen.header()):
            raise ValueError("no slab: garbage in its header")
        return seen
    finally:
        os.close(descriptor)


def _plausible(header: tuple[float, ...]) -> bool:
    return all(0 <= header[cell] <= most for cell, most in _MOST.items())


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _stack(descriptor: int) -> str | None:
    raw = os.pread(descriptor, STACK_LIMIT, SIZE)
    if len(raw) == STACK_LIMIT:
        raw = raw[: raw.rfind(b"\n") + 1] + b"  ...\n"
    return raw.decode("utf-8", "replace") or None
