"""A worker's heartbeat: the unlinked file whose times gunicorn's worker sets to say that it lives.

    /proc/3231/fd/7 -> /tmp/wgunicorn-x2k3j1ab (deleted)

Every gunicorn from 20.1 to 27 changes it, so its status change time is the last beat whatever the version
writes into it. An idle sync worker beats only every timeout/2.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def shared(proc: Path, pid: int, master: int) -> bool:
    """Tell whether a process holds a heartbeat file that its master holds too.

    A worker does from its fork until it is about to exit. The dirty arbiter holds those of its own workers.

    Raises:
        PermissionError: another user's process, and no CAP_SYS_PTRACE.
    """
    held = {name for _, name in _links(proc, pid)}
    return bool(held) and any(name in held for _, name in _links(proc, master))


def _links(proc: Path, pid: int) -> Iterator[tuple[str, str]]:
    """Yield each descriptor's path and the file it leads to."""
    folder = f"{proc}/{pid}/fd"
    for number in os.listdir(folder):  # noqa: PTH208 - names are wanted
        link = f"{folder}/{number}"
        try:
            if "/wgunicorn-" in (name := os.readlink(link)):  # noqa: PTH115 - text is wanted
                yield link, name
        except FileNotFoundError:
            continue


class Heartbeat:
    """Holds on to the heartbeat file, so that its last beat can still be read after the worker died."""

    def __init__(self, descriptor: int) -> None:
        self._fd = descriptor

    @classmethod
    def of(cls, proc: Path, pid: int) -> Heartbeat | None:
        """Find a worker's heartbeat file, None where it has none (yet).

        For an instant after its fork a worker still holds its siblings' files too: ask a little later.

        Raises:
            PermissionError: another user's process, and no CAP_SYS_PTRACE.
        """
        for link, _ in _links(proc, pid):
            try:
                # O_PATH asks for no right to the file itself, which belongs to the app's user.
                return cls(os.open(link, os.O_PATH | os.O_CLOEXEC))
            except FileNotFoundError:
                continue
        return None

    def last(self) -> float:
        """Return the Unix time of the last beat."""
        return os.fstat(self._fd).st_ctime

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)
