"""How far a log was read, in a form that can be found again after a restart, a rotation or a truncation."""

from __future__ import annotations

import os
import zlib
from typing import NamedTuple

_MARK = 256  # bytes before the position that must be the same for it to be the same file


class Position(NamedTuple):
    """A place in a file.

    Attributes:
        path: the file as whoever read it found it, links resolved.
        device: of the file.
        inode: of the file. It may be another's once that one is deleted, hence ``mark``.
        offset: bytes that were read.
        mark: checksum of the last of these bytes.
    """

    path: str
    device: int
    inode: int
    offset: int
    mark: int


def take(path: str, descriptor: int, offset: int) -> Position:
    """Return the position at ``offset`` of an open file."""
    status = os.fstat(descriptor)
    return Position(os.path.realpath(path), status.st_dev, status.st_ino, offset, _mark(descriptor, offset))


def holds(descriptor: int, position: Position) -> bool:
    """Tell whether an open file still has what was read up to the position."""
    status = os.fstat(descriptor)
    return (
        (status.st_dev, status.st_ino) == (position.device, position.inode)
        and status.st_size >= position.offset
        and _mark(descriptor, position.offset) == position.mark
    )


def rotated(position: Position) -> tuple[int, bool] | None:
    """Look for the file under the name that a rotation gave it, beside its old place.

    Returns:
        A descriptor, and whether the file that has its place now is the very next one: no rotation came
        between them. None where it isn't found: deleted, compressed, or out of sight.
    """
    folder, name = os.path.split(position.path)
    try:
        with os.scandir(folder) as entries:
            named = [entry for entry in entries if entry.name.startswith(name) and entry.name != name]
            beside = {entry.path: entry.stat() for entry in named if entry.is_file()}
    except OSError:
        return None
    for path, status in beside.items():
        if (status.st_dev, status.st_ino) != (position.device, position.inode):
            continue
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        if holds(descriptor, position):
            later = [other for other in beside.values() if other.st_mtime > status.st_mtime]
            return descriptor, not later
        os.close(descriptor)
    return None


def _mark(descriptor: int, offset: int) -> int:
    length = min(_MARK, offset)
    return zlib.crc32(os.pread(descriptor, length, offset - length))
