"""systemd's journal, read from its own files: systemd.io/JOURNAL_FILE_FORMAT, with no journalctl running.

/var/log/journal/MACHINE/ or, not kept over a boot, /run/log/journal/MACHINE/ holds system.journal, and
user-UID.journal for what users from 1000 on log, in services too. All numbers little-endian:

    header  signature LPKSHHRH | flags at 8, 12 | tail object at 136 | tail entry's number at 160, time at 192
    object  type, flags, 6 bytes, size (=BB6xQ), aligned to 8
    entry   object | number | time in us | monotonic | boot | hash | at 64 items: offsets of data objects,
            16 bytes each, in compact files 4
    data    object | 6 numbers | at 64, in compact files 72: NAME=value

Objects are only ever appended, so that following a file is walking from object to object up to the tail.
An entry is complete once the header has its time. Messages above 512 bytes may be compressed: gunicorn's
lines that matter are shorter, so those are left out.
"""

from __future__ import annotations

import os
import re
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGNATURE = b"LPKSHHRH"
_KEYED_HASH, _COMPACT = 4, 16
_KNOWN = 1 | 2 | _KEYED_HASH | 8 | _COMPACT  # 1, 2, 8: objects may be compressed
_HEADER = struct.Struct("<8s4xI120xQ16xQ24xQ")
_OBJECT = struct.Struct("<BB6xQ")
_ENTRY = struct.Struct("<BB6xQQQ")
_ENTRY_TYPE, _DATA_TYPE = 3, 1
_ITEMS_AT = 64
_LONGEST = 16 << 10  # bytes of a message
_LARGEST_ENTRY = 64 << 10
_REMEMBERED = 4096  # data objects
_MESSAGE, _UNIT = b"MESSAGE=", b"_SYSTEMD_UNIT="
_SERVICE = re.compile(r"/([^/\n]+\.service)(?=/|$)", re.MULTILINE)
_FILE = re.compile(r"(system|user-\d+)\.journal")  # those with an @ are put away


def unit(cgroup: str) -> str | None:
    """Return the systemd service (_SYSTEMD_UNIT) of a process from the text of its /proc/PID/cgroup."""
    match = _SERVICE.search(cgroup)
    return match[1] if match else None


def files(root: str) -> list[str]:
    """Return the journal files that are written to, below a root folder.

    Raises:
        PermissionError: the folders may not be looked into.
    """
    return [
        f"{folder}/{machine}/{name}"
        for folder in (f"{root}/var/log/journal", f"{root}/run/log/journal")
        for machine in _names(folder)
        for name in _names(f"{folder}/{machine}")
        if _FILE.fullmatch(name)
    ]


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - the way may lead through /proc/PID/root: no Path resolves it
    except (FileNotFoundError, NotADirectoryError):
        return []


class _Header(NamedTuple):
    compact: bool
    tail: int
    number: int
    time: int


class _UnreadableError(Exception):
    """An object that is none: the file was damaged."""


class _File:
    """One journal file, walked from its end on, or from its beginning where it took a rotated one's place."""

    def __init__(self, path: str, unit: bytes | None, *, whole: bool = False) -> None:
        self.path = path
        self._unit = unit
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            header = self._header()
        except ValueError:
            os.close(self._fd)
            raise
        self._number = 0 if whole else header.number
        self._at = struct.unpack("<Q", os.pread(self._fd, 8, 88))[0] if whole else header.tail
        self._fields: dict[int, bytes] = {}

    def messages(self) -> Iterator[str]:
        try:
            header = self._header()
        except ValueError:  # damaged since
            return
        try:
            yield from self._walk(header)
        except _UnreadableError:
            self._at = header.tail

    def _walk(self, header: _Header) -> Iterator[str]:
        while self._at <= header.tail:
            kind, _, size, number, time = _ENTRY.unpack(self._read(self._at, _ENTRY.size))
            if size < _OBJECT.size:
                raise _UnreadableError
            if kind == _ENTRY_TYPE and number > self._number:
                if time > header.time:  # it is being written
                    return
                self._number = number
                yield from self._message(self._at, min(size, _LARGEST_ENTRY), compact=header.compact)
            self._at += (size + 7) & ~7

    def replaced(self) -> bool:
        try:
            return not os.path.samestat(os.stat(self.path), os.fstat(self._fd))  # noqa: PTH116 - as above
        except OSError:  # between the two steps of a rotation
            return False

    def close(self) -> None:
        os.close(self._fd)

    def _message(self, at: int, size: int, *, compact: bool) -> Iterator[str]:
        item = struct.Struct("<I" if compact else "<Q8x")
        items = self._read(at, size)[_ITEMS_AT:]
        offsets = [offset for (offset,) in item.iter_unpack(items[: len(items) // item.size * item.size])]
        fields = [self._field(offset, 72 if compact else 64) for offset in offsets]
        if self._unit and self._unit not in fields:
            return
        for field in fields:
            if field.startswith(_MESSAGE):
                yield field.removeprefix(_MESSAGE).decode(errors="replace")

    def _field(self, offset: int, at: int) -> bytes:
        """Return a field where it is a message or a unit, else nothing; most recur in each entry."""
        known = self._fields.get(offset)
        if known is not None:
            return known
        kind, compressed, size = _OBJECT.unpack(self._read(offset, _OBJECT.size))
        if kind != _DATA_TYPE:
            raise _UnreadableError
        start = b"" if compressed else os.pread(self._fd, min(size - at, _LONGEST), offset + at)
        if start.startswith(_MESSAGE):
            return start
        if len(self._fields) >= _REMEMBERED:
            self._fields.clear()
        return self._fields.setdefault(offset, start if start.startswith(_UNIT) else b"")

    def _header(self) -> _Header:
        text = os.pread(self._fd, _HEADER.size, 0)
        if len(text) < _HEADER.size or not text.startswith(_SIGNATURE):
            raise ValueError(f"{self.path} is no journal")
        _, flags, tail, number, time = _HEADER.unpack(text)
        if flags & ~_KNOWN:
            raise ValueError(f"{self.path} has a newer format than is known here")
        return _Header(bool(flags & _COMPACT), tail, number, time)

    def _read(self, at: int, size: int) -> bytes:
        text = os.pread(self._fd, size, at)
        if len(text) < size:
            raise _UnreadableError
        return text


class Journal:
    """Follows what a unit's processes log, from now on.

    Args:
        paths: of the journal's files.
        unit: the service; None takes every process's.

    Attributes:
        complete: what was logged before is missing.
        lost: never: the journal's rights don't change with its files.

    Raises:
        OSError: one can't be read.
        ValueError: one is no journal, or of a format that isn't known.
    """

    complete = False
    lost = False

    def __init__(self, paths: list[str], unit: str | None) -> None:
        self._unit = _UNIT + unit.encode() if unit else None
        self._files: list[_File] = []
        try:
            for path in paths:
                self._files.append(_File(path, self._unit))
        except (OSError, ValueError):
            self.close()
            raise

    def lines(self) -> Iterator[str]:
        """Yield the lines that were logged since the last call."""
        for number, file in enumerate(self._files):
            yield from file.messages()
            if file.replaced():
                try:
                    successor = _File(file.path, self._unit, whole=True)
                except (OSError, ValueError):  # not written yet: it is there next time
                    continue
                yield from file.messages()
                file.close()
                self._files[number] = successor
                yield from successor.messages()

    def position(self) -> None:
        """Return nothing: a later run follows it anew."""
        return

    def close(self) -> None:
        """Stop following."""
        for file in self._files:
            file.close()
