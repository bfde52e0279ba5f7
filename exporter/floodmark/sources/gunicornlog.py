"""Gunicorn's error log, by the lines that tell how workers end; 20.1 to 27.

    [2026-11-20 07:27:51 +0000] [539] [CRITICAL] WORKER TIMEOUT (pid:561)
    [2026-11-20 07:27:52 +0000] [539] [ERROR] Worker (pid:561) was sent SIGKILL! Perhaps out of memory?
    [2026-11-20 07:44:16 +0000] [13252] [WARNING] Worker with pid 13930 was terminated due to signal 9
    [2026-11-20 07:44:18 +0000] [13254] [ERROR] Worker (pid:14738) exited with code 7.
    [2026-11-20 07:28:19 +0000] [31886] [INFO] Autorestarting worker after current request.
    [2026-11-20 09:37:12 +0000] [31951] [WARNING] Maximum request limit of 20 exceeded. Terminating process.
    [2026-11-20 07:44:21 +0000] [13255] [INFO] Handling signal: hup
    [2026-11-20 07:44:21 +0000] [13301] [INFO] Booting worker with pid: 13301

The second way to say that a worker is recycled is that of uvicorn's worker class. 21.2 to 23.0 call a signal
with a core dump "code 139". Pids are those of gunicorn's own pid namespace. A journal's or a log shipper's
prefix is no hindrance.
"""

from __future__ import annotations

import re
import signal
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_TIME = re.compile(r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) ([+-]\d{4})\] \[")
_LINE = re.compile(r"\[(?P<writer>\d+)\] \[(?P<level>[A-Z]+)\] (?P<message>.*)")


class Timeout(NamedTuple):
    """The master gave a worker up for its silence."""

    pid: int


class Ended(NamedTuple):
    """The master saw a worker's end; ``status`` is the wait status that its words stand for."""

    pid: int
    status: int


class Recycle(NamedTuple):
    """A worker reached max_requests and will exit."""

    pid: int


class MasterSignal(NamedTuple):
    """A master acts on a signal: hup, term, int, quit, ttin, ttou, usr1, usr2 or winch."""

    pid: int
    name: str


class Booting(NamedTuple):
    """A worker starts."""

    pid: int


Event = Timeout | Ended | Recycle | MasterSignal | Booting


# For each line its words and what it tells, from the match and the pid that wrote it.
_TELLS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], int], Event]], ...] = (
    (re.compile(r"WORKER TIMEOUT \(pid:(\d+)\)"), lambda found, _: Timeout(int(found[1]))),
    (
        re.compile(r"Worker \(pid:(\d+)\) was sent (SIG\w+|signal \d+|code \d+)!"),
        lambda found, _: Ended(int(found[1]), _status(found[2])),
    ),
    (
        re.compile(r"Worker with pid (\d+) was terminated due to signal (\d+)"),
        lambda found, _: Ended(int(found[1]), int(found[2])),
    ),
    (
        re.compile(r"Worker \(pid:(\d+)\) exited with code (\d+)"),
        lambda found, _: Ended(int(found[1]), int(found[2]) << 8),
    ),
    (re.compile(r"Booting worker with pid: (\d+)"), lambda found, _: Booting(int(found[1]))),
    (
        re.compile(r"Autorestarting worker after current request\.|Maximum request limit of \d+ exceeded\."),
        lambda _, writer: Recycle(writer),
    ),
    (
        re.compile(r"Handling signal: (\w+)"),
        lambda found, writer: MasterSignal(writer, found[1].lower()),
    ),
)


class Line(NamedTuple):
    """A line of gunicorn's: the pid that wrote it, its level, and what it tells, if that is of use here."""

    writer: int
    level: str
    event: Event | None


def parse(line: str) -> Line | None:
    """Parse a line, None where it isn't in gunicorn's format."""
    match = _LINE.search(line)
    if not match:
        return None
    writer, message = int(match["writer"]), match["message"]
    for pattern, tells in _TELLS:
        if found := pattern.match(message):
            return Line(writer, match["level"], tells(found, writer))
    return Line(writer, match["level"], None)


def when(line: str) -> float | None:
    """Return the Unix time in a line, whole seconds; None where it has none in gunicorn's own format."""
    match = _TIME.search(line)
    return datetime.fromisoformat(match[1] + match[2]).timestamp() if match else None


def _status(name: str) -> int:
    word, _, number = name.partition(" ")
    if word in ("signal", "code"):  # a wait status: signal 9 is 9, with a core dump 9 + 128
        return int(number)
    return signal.Signals[name] if name in signal.Signals.__members__ else 0
