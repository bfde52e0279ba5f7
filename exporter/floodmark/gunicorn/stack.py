"""What a worker's stacks at its end say of what it was doing: pure, of faulthandler's text.

    Fatal Python error: Aborted

    Thread 0x00007f2b1d7fa6c0 (most recent call first):
      File "/usr/lib/python3.11/threading.py", line 327 in wait
    Current thread 0x00007f2b3c0f1040 (most recent call first):
      File "/srv/shop/views.py", line 31 in report
      File "/srv/shop/venv/lib/python3.11/site-packages/gunicorn/workers/sync.py", line 184 in handle_request
      ...

    Extension modules: gevent._abstract_linkable, ... (total: 34)

An app's own code is what is neither installed nor Python's; below gunicorn's frames every worker is the same.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_THREAD = re.compile(r"(Current thread|Thread) 0x[0-9a-f]+\b.*:$")
_FRAME = re.compile(r'  File "(?P<file>.*)", line (?P<line>\d+) in (?P<function>.+)$')
_SERVER = re.compile(r"/(gunicorn/(workers|asgi|app|arbiter)|uvicorn/|floodmark/agent/)")
_LIBRARY = re.compile(r"/(site|dist)-packages/|/lib(64)?/python[\d.]+/|^<")
_TOP = 3  # frames of libraries that are told: the call it hung in, and what made it
_OWN = 8  # of the app's own
_THREADS = 3


class Frame(NamedTuple):
    """A call: in a function, at a line of a file."""

    file: str
    line: int
    function: str

    @property
    def own(self) -> bool:
        """Whether it is the app's own code."""
        return not _LIBRARY.search(self.file)

    @property
    def short(self) -> str:
        """Function, file with its folder, and line: ``report (shop/views.py:31)``."""
        return f"{self.function} ({'/'.join(self.file.split('/')[-2:])}:{self.line})"


class Thread(NamedTuple):
    """A thread's frames above the server's, innermost first; ``current`` is the one the signal hit."""

    current: bool
    frames: tuple[Frame, ...]

    @property
    def own(self) -> Frame | None:
        """The innermost call of the app's own code, None where there is none."""
        return next((frame for frame in self.frames if frame.own), None)


def threads(stack: str) -> list[Thread]:
    """Return the threads, those first that were in the app's own code, then the one the signal hit."""
    found: list[tuple[bool, list[Frame]]] = []
    below = False
    for line in stack.splitlines():
        if head := _THREAD.match(line):
            found.append((head[1] == "Current thread", []))
            below = False
        elif found and (call := _FRAME.match(line)):
            below = below or bool(_SERVER.search(call["file"]))
            if not below:
                found[-1][1].append(Frame(call["file"], int(call["line"]), call["function"]))
    every = [Thread(current, tuple(frames)) for current, frames in found]
    return sorted(every, key=lambda thread: (thread.own is None, not thread.current))


@functools.lru_cache(maxsize=8)
def doing(stack: str | None) -> Frame | None:
    """Return the innermost call of the app's own code, of the thread that matters; None where unknown."""
    return next((thread.own for thread in threads(stack or "")), None)


def told(stack: str, width: int) -> Iterator[str]:
    """Yield the threads that were in the app's own code as lines for a person, innermost call first.

    Args:
        stack: faulthandler's text; of anything else the first lines.
        width: of a line, in characters.
    """
    every = threads(stack)
    busy = [thread for thread in every if thread.own] or every[:1]
    if not busy:
        yield from (line[:width] for line in stack.splitlines()[: _TOP + _OWN])
    for number, thread in enumerate(busy[:_THREADS]):
        if number:
            yield "another thread:"
        yield from _told(thread.frames, width)
    if rest := len(every) - len(busy[:_THREADS]):
        yield f"and {rest} more thread{'s' * (rest > 1)}: floodmark why --json"


def _told(frames: tuple[Frame, ...], width: int) -> Iterator[str]:
    left_out, own = 0, 0
    for place, frame in enumerate(frames):
        own += frame.own
        if own > _OWN if frame.own else place >= _TOP:
            left_out += 1
            continue
        if left_out:
            yield f"... {left_out} more"
            left_out = 0
        yield _line(frame, width)
    if left_out:
        yield f"... {left_out} more"


def _line(frame: Frame, width: int) -> str:
    """Return a frame, its path cut from the left where it is too long: its end tells it apart."""
    line = f"{frame.file}:{frame.line} in {frame.function}"
    return line if len(line) <= width else f"...{line[3 - width :]}"
