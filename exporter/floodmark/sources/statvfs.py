"""statvfs(3) of many file systems, where one that is dead (NFS, FUSE) must hold up nobody.

A call on a dead network file system may never return and can't be cancelled: it is made in a thread of
its own, which is left to wait. Such a mount isn't asked again before it has answered.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Usage(NamedTuple):
    """Bytes: of the whole file system, free, and free to ordinary users."""

    size: int
    free: int
    avail: int


class FileSystems:
    """Asks file systems how full they are.

    Never more threads wait than there are file systems that don't answer.

    Args:
        patience: seconds given to those that must answer; a call of ``usage`` lasts at most twice as long.
        statvfs: os.statvfs.
    """

    def __init__(
        self, patience: float = 1.0, statvfs: Callable[[str], os.statvfs_result] = os.statvfs
    ) -> None:
        self._patience = patience
        self._statvfs = statvfs
        # Two scrapes at once would each take the other's questions for unanswered ones.
        self._turn = threading.Lock()
        self._unanswered: set[str] = set()

    def usage(self, paths: Iterable[str]) -> dict[str, Usage]:
        """Usage by path; a path whose file system failed or didn't answer in time is missing."""
        with self._turn:
            answers: dict[str, Usage] = {}
            todo = deque(path for path in dict.fromkeys(paths) if path not in self._unanswered)
            self._ask(todo, answers, workers=1)
            # One hangs: the others are asked side by side, as they may hang too.
            self._ask(todo, answers, workers=len(todo))
            return answers.copy()

    def _ask(self, todo: deque[str], answers: dict[str, Usage], workers: int) -> None:
        threads = [
            threading.Thread(target=self._work, args=(todo, answers), name="statvfs", daemon=True)
            for _ in range(workers)
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + self._patience
        for thread in threads:
            thread.join(max(0, deadline - time.monotonic()))

    def _work(self, todo: deque[str], answers: dict[str, Usage]) -> None:
        while True:
            try:
                path = todo.popleft()
            except IndexError:
                return
            self._unanswered.add(path)
            try:
                found = self._statvfs(path)
            except OSError:
                continue
            finally:
                self._unanswered.discard(path)
            # Blocks are counted in f_frsize, as df does. node_exporter takes f_bsize, which is the same
            # but for some FUSE file systems, where it is wrong.
            unit = found.f_frsize
            answers[path] = Usage(found.f_blocks * unit, found.f_bfree * unit, found.f_bavail * unit)
