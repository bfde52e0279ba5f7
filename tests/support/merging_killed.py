"""Merges a folder in a child process that is killed before its n-th call of the system, told by stdin.

A line "FOLDER N" is answered by "killed" or "done".
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from floodmark.multiproc import Folder

STEPS = ("open", "os.", "fcntl.", "mmap.")


def _merge(path: str, kill_before: int) -> None:
    left = kill_before

    def hook(event: str, _: object) -> None:
        nonlocal left
        if event.startswith(STEPS):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    folder = Folder(Path(path))
    sys.addaudithook(hook)
    folder.merge()


def _main() -> None:
    for line in sys.stdin:
        path, _, number = line.rpartition(" ")
        child = os.fork()
        if not child:
            _merge(path, int(number))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print({0: "done", signal.SIGKILL: "killed"}.get(status, "broken"), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    _main()
