"""Follows a text file that grows: reads what was appended, through rotation and truncation."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from floodmark.sources import logposition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from floodmark.sources.logposition import Position

_CHUNK = 64 << 10
_LONGEST_LINE = 16 << 10  # bytes; of a longer one only the end is kept
_BACKLOG = 16 << 20  # bytes that are read of what was written since a position


class LogTail:
    """Follows a file from its end on.

    Args:
        path: the file; where rotation puts a new one there, that is read from its beginning once the old
            one is read to its end.
        from_end: bytes of what is there already to read too.
        since: where an earlier run had read to: go on from there.

    Attributes:
        complete: nothing that was written after ``since`` is missing.
        lost: another file has the path, and can't be opened: what is written now isn't seen.

    Raises:
        OSError: it can't be read.
        ValueError: it's no regular file.
    """

    def __init__(self, path: str, from_end: int = 0, since: Position | None = None) -> None:
        self._path = path
        self._fd = self._open()
        self._rest = b""
        self.complete = True
        self.lost = False
        if since:
            self._resume(since)
        else:
            os.lseek(self._fd, max(0, os.fstat(self._fd).st_size - from_end), os.SEEK_SET)

    def position(self) -> Position:
        """Return how far it was read, in complete lines."""
        offset = os.lseek(self._fd, 0, os.SEEK_CUR) - len(self._rest)
        return logposition.take(self._path, self._fd, max(0, offset))

    def lines(self) -> Iterator[str]:
        """Yield the complete lines that were appended since the last call, without their ends."""
        yield from self._read()
        if self._replaced():
            yield from self._read()

    def close(self) -> None:
        """Stop following."""
        os.close(self._fd)

    def _open(self) -> int:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if not os.path.isfile(self._path):  # noqa: PTH113 - it may be a link below /proc, which Path resolves
            os.close(descriptor)
            raise ValueError(f"{self._path} is no regular file")
        return descriptor

    def _resume(self, since: Position) -> None:
        start = since.offset
        if not logposition.holds(self._fd, since):
            if found := logposition.rotated(since):
                os.close(self._fd)
                self._fd, self.complete = found  # lines() goes over to the present file once this one is read
            else:
                start, self.complete = 0, False
        size = os.fstat(self._fd).st_size
        if size - start > _BACKLOG:
            start, self.complete = size - _BACKLOG, False
        os.lseek(self._fd, start, os.SEEK_SET)

    def _read(self) -> Iterator[str]:
        status = os.fstat(self._fd)
        if status.st_size < os.lseek(self._fd, 0, os.SEEK_CUR):  # truncated in place
            os.lseek(self._fd, 0, os.SEEK_SET)
            self._rest = b""
        while chunk := os.read(self._fd, _CHUNK):
            *complete, rest = (self._rest + chunk).split(b"\n")
            self._rest = rest[-_LONGEST_LINE:]
            for line in complete:
                yield line.decode(errors="replace")

    def _replaced(self) -> bool:
        """Go over to the file that now has the path, if it is another one."""
        try:
            if os.path.samestat(os.stat(self._path), os.fstat(self._fd)):  # noqa: PTH116 - as in _open
                return False
            descriptor = self._open()
        except FileNotFoundError:  # between the two steps of a rotation: it is there next time
            return False
        except (OSError, ValueError):
            self.lost = True
            return False
        os.close(self._fd)
        self._fd, self._rest, self.lost = descriptor, b"", False
        return True
