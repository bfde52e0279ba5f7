"""The kernel's log: Documentation/ABI/testing/dev-kmsg.

    6,767,1186878333,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),...,task=gunicorn,pid=3231,uid=0
    3,768,1186878355,-;Memory cgroup out of memory: Killed process 3231 (gunicorn) total-vm:224160kB
        anon-rss:207644kB, ...

Only the ``Killed process`` line is used: the ``oom-kill:`` line is rate limited (30 kills left 10 of them).
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_KILLED = re.compile(
    rb"^[^;]*;(?P<scope>Memory cgroup out|Out) of memory: Killed process (?P<pid>\d+) "
    rb"\((?P<name>.*?)\).*? anon-rss:(?P<anon>\d+)kB"
)
_RECORD = 8192  # the kernel's own bound on one record


class OomKill(NamedTuple):
    """The kernel killed a process for memory.

    Attributes:
        pid: in the host's namespace.
        scope: ``cgroup`` where a cgroup's limit was reached, ``host`` where all memory was used up.
        anonymous_bytes: anonymous resident memory of the victim.
    """

    pid: int
    scope: str
    anonymous_bytes: int


def parse(record: bytes) -> OomKill | None:
    """Return the kill a record tells of, or None."""
    match = _KILLED.match(record)
    if not match:
        return None
    scope = "cgroup" if match["scope"].startswith(b"Memory") else "host"
    return OomKill(int(match["pid"]), scope, int(match["anon"]) * 1024)


class KernelLog:
    """Follows the kernel's log from now on.

    Attributes:
        sequence: the number of the last record that was read; -1 before the first.

    Raises:
        OSError: no such device, or no permission (CAP_SYSLOG).
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self.sequence = -1
        try:
            while self._read():  # to its end; some kernels refuse the reading only, not the opening
                pass
        except OSError:
            os.close(self._fd)
            raise

    @classmethod
    def open_first(cls, paths: tuple[Path, ...]) -> Self:
        """Follow the first of ``paths`` that can be opened; raise the first's error if none can."""
        errors = []
        for path in paths:
            try:
                return cls(path)
            except OSError as error:
                errors.append(error)
        raise errors[0]

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._fd

    def kills(self) -> Iterator[OomKill]:
        """Yield the OOM kills logged since the last call."""
        while record := self._read():
            if kill := parse(record):
                yield kill

    def kills_since(self, sequence: int) -> tuple[list[OomKill], bool]:
        """Return the OOM kills in all records after that one, and whether no record after it is lost."""
        os.lseek(self._fd, 0, os.SEEK_SET)  # the oldest record there is
        found, oldest = [], None
        while record := self._read():
            oldest = self.sequence if oldest is None else oldest
            if self.sequence > sequence and (kill := parse(record)):
                found.append(kill)
        return found, oldest is not None and oldest <= sequence + 1

    def close(self) -> None:
        """Stop following."""
        os.close(self._fd)

    def _read(self) -> bytes:
        while True:
            try:
                record = os.read(self._fd, _RECORD)
            except BlockingIOError:
                return b""
            except BrokenPipeError:  # records were overwritten before they were read: go on with the oldest
                continue
            self.sequence = _sequence(record, self.sequence)
            return record


def _sequence(record: bytes, before: int) -> int:
    number = record.partition(b",")[2].partition(b",")[0]
    return int(number) if number.isdigit() else before
