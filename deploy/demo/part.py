"""One process of the demo: started in a process group of its own, its output in a file, stopped for sure."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

# Everything else a shell may have set (PYTHONPATH, GUNICORN_CMD_ARGS, http_proxy, ...) would play along.
_KEPT = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "TZ", "USER", "XDG_RUNTIME_DIR")


def environment(temporary: Path) -> dict[str, str]:
    """The environment of every part: only what a program needs to find its way, and no proxy.

    Args:
        temporary: the folder for what a part that is killed can't tidy up.
    """
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return kept | {"TMPDIR": str(temporary), "no_proxy": "*"}


class Part:
    """A program that runs as long as the demo does.

    Attributes:
        name: what a person calls it.
        log: the file that has what it says; temporary files go to its folder.
        process: what runs, None before the start.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        self._command = command
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, out of reach of the terminal's Ctrl-C: the demo stops its parts in order."""
        # Appended to, as gunicorn writes to the same file by a name of its own.
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                env=environment(self.log.parent),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def died(self) -> int | None:
        """Exit status if it has ended by itself (negative: signal), None while it runs."""
        return None if self.process is None else self.process.poll()

    def last_words(self, lines: int = 15) -> str:
        """The end of its log."""
        with self.log.open(errors="replace") as log:
            return "".join(deque(log, lines)).rstrip()


def stop(parts: Iterable[Part], seconds: float) -> None:
    """Ask all to end at once, give them that many seconds together, kill what is left of their groups."""
    running = [part.process for part in parts if part.process is not None]
    for process in running:
        process.terminate()  # does nothing to one that has ended
    deadline = time.monotonic() + seconds
    for process in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
        # Its children too (workers of a gunicorn that was killed); with none left there is no such group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
