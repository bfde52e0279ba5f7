"""The ways in which a worker dies, each really brought about, and what is true of it then."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, NamedTuple

from tests.support.live import recycle, to_master

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.live import Gunicorn

CLASSES = ("sync", "gthread", "gevent", "asgi")
_SLOW = 30.0  # seconds; far more than anything here takes


class Death(NamedTuple):
    """A way to die.

    Attributes:
        kill: brings it about, for an app with one worker that answers.
        ends: each worker that ends by it, in words, with its true cause.
        flags: gunicorn's, for this.
        classes: the worker classes that have it.
        cgroup: whether it takes a memory cgroup with a limit.
    """

    kill: Callable[[Gunicorn], object]
    ends: tuple[tuple[str, str], ...]
    flags: tuple[str, ...] = ()
    classes: tuple[str, ...] = CLASSES
    cgroup: bool = False


def broken(log: Path) -> Path:
    """Return the file that makes the app with this log fail to boot from then on."""
    return log.with_suffix(".broken")


def _ask(path: str) -> Callable[[Gunicorn], None]:
    # Nothing answers: the request ends when the worker does, or with this patience.
    return lambda app: app.get(path, seconds=1)


def _send(number: signal.Signals) -> Callable[[Gunicorn], None]:
    return lambda app: os.kill(app.workers()[0], number)


def _tell_master(*signals: signal.Signals) -> Callable[[Gunicorn], None]:
    return to_master(*signals, seconds=_SLOW)


def _scale_down(app: Gunicorn) -> None:
    # A worker that is asked to end before it has its own signal handlers doesn't hear it: the old one ends.
    _tell_master(signal.SIGTTIN, signal.SIGTTOU)(app)


def _stop_amid_a_request(app: Gunicorn) -> None:
    app.get("/hold-gil", seconds=0.5)
    app.process.send_signal(signal.SIGTERM)


def _fail_to_boot(app: Gunicorn) -> None:
    broken(app.log).touch()
    app.process.send_signal(signal.SIGTTIN)


_TIMES_OUT = ("--timeout", "4")

# A gthread worker's threads may sleep and spin: its main thread goes on beating. Gevent's sleep yields.
DEATHS = {
    "oom-kill": Death(_ask("/keep?400"), (("OOM kill", "oom_kill"),), cgroup=True),
    "soft-timeout": Death(
        _ask("/wait?60"), (("soft timeout", "timeout"),), _TIMES_OUT, classes=("sync", "asgi")
    ),
    "soft-timeout-busy": Death(
        _ask("/spin"), (("soft timeout", "timeout"),), _TIMES_OUT, classes=("gevent",)
    ),
    "hard-timeout": Death(_ask("/hold-gil"), (("hard timeout, stuck in C", "timeout"),), _TIMES_OUT),
    "max-requests": Death(recycle, (("max_requests", "max_requests"),), ("--max-requests", "20")),
    "hup": Death(_tell_master(signal.SIGHUP), (("HUP", "reload"),)),
    "ttou": Death(_scale_down, (("TTOU", "scale_down"),)),
    "term": Death(lambda app: app.process.send_signal(signal.SIGTERM), (("TERM", "shutdown"),)),
    "overrun": Death(
        _stop_amid_a_request,
        (("shutdown overrun", "shutdown_kill"),),
        ("--timeout", "60", "--graceful-timeout", "2"),
    ),
    "segv": Death(_ask(f"/signal?{signal.SIGSEGV:d}"), (("SEGV", "crash_signal"),)),
    "abrt": Death(_ask("/abort"), (("ABRT", "crash_signal"),)),
    "kill-9": Death(_send(signal.SIGKILL), (("kill -9", "external_kill"),)),
    "boot-error": Death(_fail_to_boot, (("boot error", "boot_error"), ("halt by a boot error", "shutdown"))),
    "exit-7": Death(_ask("/exit?7"), (("exit 7", "nonzero_exit"),)),
    "exit-0": Death(_ask("/exit?0"), (("os._exit(0)", "exit_unrequested"),)),
    "term-from-outside": Death(_send(signal.SIGTERM), (("external TERM", "exit_unrequested"),)),
}
