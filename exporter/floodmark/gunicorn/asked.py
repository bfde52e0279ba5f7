"""What a master is asked over its control socket: settings nobody can see, timeouts that no log tells."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from floodmark.sources import control
from floodmark.sources.available import NO_CONTROL_SOCKET, Lack
from floodmark.sources.control import AnotherMasterError
from floodmark.sources.procfs import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from floodmark.gunicorn.find import Master
    from floodmark.gunicorn.model import Gunicorn
    from floodmark.gunicorn.settings import Settings

T = TypeVar("T")

SETTINGS = (
    "graceful_timeout",
    "max_requests",
    "max_requests_jitter",
    "preload_app",
    "threads",
    "timeout",
    "worker_class",
    "worker_connections",
    "workers",
)
_AGAIN = 60.0  # seconds until settings are asked for again
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds until a master that gave no answer is asked again
_RELOADED = 2.0  # seconds from the log's "Handling signal: hup" until the new settings surely are in use

_OWN_PATH = "give each gunicorn its own --control-socket PATH"
_NEWER = "gunicorn 25.1 or newer, or options on its command line where they can be seen"
_RIGHTS = (
    "run as the app's user, or as root (CAP_DAC_OVERRIDE and CAP_SYS_PTRACE), or --control-socket PATH"
    " --control-socket-mode 0660 and its group; or options on its command line and --error-logfile FILE"
)
_TURNED_ON = (
    "start gunicorn (25.1 or newer) without --no-control-socket, or put the options on its command line"
)
_RESTART = "restart gunicorn, and see that nothing else serves its --control-socket"


@dataclasses.dataclass(slots=True)
class Asked:
    """What a master has told so far, and when it is asked next; steady times.

    Attributes:
        told: settings.
        settings_due: when they are asked for again.
        due: when it is asked anything again.
        pause: seconds from the next failure until then.
    """

    told: Mapping[str, object] = dataclasses.field(default_factory=dict)
    settings_due: float = float("-inf")
    due: float = float("-inf")
    pause: float = _FIRST_PAUSE

    def reloaded(self, settings: Settings, now: float) -> Settings:
        """Take settings that were read anew; fill in what it told, until it is asked again."""
        self.told = {name: self.told[name] for name in settings.unknown(self.told)}
        self.settings_due = now + _RELOADED
        return settings.told(self.told)


class Answer(NamedTuple):
    """What came of asking.

    Attributes:
        good: it answered.
        lack: why it didn't, where that is a loss.
        aborted: workers that it gave up for their silence, by pid in its namespace.
    """

    good: bool
    lack: Lack | None = None
    aborted: frozenset[int] = frozenset()


def ask(proc: Path, root: Path, gunicorn: Gunicorn, now: float) -> Answer | None:
    """Ask a master what it alone can tell, None where nothing is due.

    It takes a millisecond; where nothing answers a fraction of a second, ever more seldom.

    Args:
        proc: the host's /proc.
        root: the host's root folder.
        gunicorn: whom; what it has told is kept in its ``asked``.
        now: steady time.
    """
    asked, master = gunicorn.asked, gunicorn.master
    # What it told at first is asked for again: it may have been reloaded with no log to say so.
    unseen = {*master.settings.unknown(SETTINGS), *asked.told}
    wants_settings = bool(unseen) and now >= asked.settings_due
    if now < asked.due or not (wants_settings or not gunicorn.log_understood):
        return None
    problem, grant = _closed(master)
    starting = False
    try:
        if not problem:
            answer = _answer(proc, root, gunicorn, now, wants_settings=wants_settings)
            asked.pause = _FIRST_PAUSE
            return answer
    except AnotherMasterError as error:
        problem, grant = str(error.strerror), _OWN_PATH
    except PermissionError as error:
        problem, grant = f"{error.filename}: {error.strerror}", _RIGHTS
    except OSError as error:
        problem, grant = error.strerror or str(error), _TURNED_ON
        # Gunicorn makes its socket some time after it can be found; said is what stays.
        starting = asked.pause == _FIRST_PAUSE and isinstance(error, (FileNotFoundError, ConnectionError))
    except ValueError as error:
        problem, grant = str(error), _RESTART
    asked.due = now + asked.pause
    asked.pause = min(2 * asked.pause, _LONGEST_PAUSE)
    missed = not starting and (bool(unseen) or gunicorn.log is None)
    lack = Lack(NO_CONTROL_SOCKET.problem.format(problem), NO_CONTROL_SOCKET.costs, grant)
    return Answer(good=False, lack=lack if missed else None)


def _closed(master: Master) -> tuple[str, str]:
    """Return why a master surely has no such socket, and what would give it one; empty where it may have."""
    if control.supported(master.version) is False:
        return f"gunicorn {master.version} has none", _NEWER
    if master.settings.text("control_socket_disable") == "True":
        return "it is turned off", _TURNED_ON
    return "", ""


def _answer(proc: Path, root: Path, gunicorn: Gunicorn, now: float, *, wants_settings: bool) -> Answer:
    asked, pid = gunicorn.asked, gunicorn.master.identity.pid
    paths = list(sockets(proc, root, gunicorn.master))
    if wants_settings:
        told = _first(paths, lambda path: control.config(path, pid))
        unseen = {*gunicorn.master.settings.unknown(SETTINGS), *asked.told}
        asked.told = {name: told[name] for name in SETTINGS if name in told and name in unseen}
        asked.settings_due = now + _AGAIN
    aborted: frozenset[int] = frozenset()
    if not gunicorn.log_understood:
        workers = _first(paths, lambda path: control.workers(path, pid))
        aborted = frozenset(worker.pid for worker in workers if worker.aborted)
    return Answer(good=True, aborted=aborted)


def sockets(proc: Path, root: Path, master: Master) -> Iterator[str]:
    """Return where a master's control socket may be, best first.

    Raises:
        OSError: it has ended.
    """
    pid = master.identity.pid
    try:
        environ = process.read_environ(proc, pid)
    except PermissionError:
        environ = {}
    user = (proc / str(pid)).stat().st_uid
    told = master.settings.text("control_socket")
    if told is None or not (told or environ.get("HOME")):
        with contextlib.suppress(OSError):  # what it may not be looked into for, the others say
            yield from control.listening(f"{proc}/{pid}")
    yield from control.candidates(f"{proc}/{pid}", os.fspath(root).rstrip("/"), told or "", environ, user)


def _first(paths: list[str], ask: Callable[[str], T]) -> T:
    """Return the first answer; raise why the last refused that is there, or the last."""
    refused: OSError | None = None
    for path in paths:
        try:
            return ask(path)
        except FileNotFoundError as error:
            refused = refused or error
        except OSError as error:
            error.filename = error.filename or path
            refused = error
    raise refused or FileNotFoundError(2, "no such socket")
