"""The agent in the master: what it did to its workers, how they ended, and the folding of their slabs."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from floodmark.agent import ledger
from floodmark.agent.ledger import Exit, Ledger
from floodmark.agent.slab import Identity

if TYPE_CHECKING:
    from collections.abc import Callable

_ORDERS = ("hup", "int", "quit", "term", "ttou", "winch")
_ENDING = frozenset({signal.SIGABRT, signal.SIGINT, signal.SIGKILL, signal.SIGQUIT, signal.SIGTERM})
_STOPS = frozenset({"int", "quit", "term"})
_ALONG = 2.0  # seconds; Ctrl-C and systemd tell workers too, who may be gone before it is heard here
_DYING = 0.2  # seconds that the master, when it goes, waits for those it has just killed
_KEPT = 64  # exits that wait for a ledger that can't be written


class Attendant:
    """Stands beside gunicorn's arbiter, by wrapping methods of the one object.

    Gunicorn has no hook for what it sends its workers, nor for one that failed to boot; child_exit comes when
    the status is gone.

    Args:
        server: gunicorn's arbiter.
        folder: the app's.
        say: logs a line once.
        hook: gives a configuration the hooks; a reload brings one that has none.
    """

    def __init__(
        self,
        server: Any,
        folder: str,
        say: Callable[[str], None],
        hook: Callable[[Any], None],
    ) -> None:
        self.folder = folder
        self._server = server
        self._ledger = Ledger(folder)
        self._say = say
        self._order: str | None = None
        self._sent: dict[int, list[str]] = {}
        self._ordered: dict[int, str | None] = {}
        self._ticks: dict[int, int] = {}
        self._ended: dict[int, Exit] = {}
        self._lately: list[Exit] = []
        self._folding = False
        for name in _ORDERS:
            _wrap(server, f"handle_{name}", before=lambda *_, name=name: self._note_order(name))
        _wrap(server, "stop", before=self._note_stop)
        _wrap(server, "kill_worker", before=self._note_signal)
        _wrap(server, "spawn_worker", before=lambda: hook(server.cfg))
        _wrap(server, "reap_workers", before=self._peek, after=self.fold)
        ledger.forget_old(folder, time.time())
        self.fold()

    def leave(self) -> None:
        """Fold what is left when the master goes, also of workers it hasn't reaped."""
        self._peek()
        deadline = time.monotonic() + _DYING
        while self._sent.keys() & self._ticks.keys() and time.monotonic() < deadline:
            time.sleep(_DYING / 20)
            self._peek()
        for pid in list(self._ticks):
            self._note_end(pid, None, None)
        self.fold()

    def fold(self) -> None:
        """Fold what the dead have counted; where that can't be now, the next time."""
        if self._folding:  # up to gunicorn 23 workers are reaped in a signal handler, which may come here
            return
        self._folding = True
        ended = list(self._ended.values())[-_KEPT:]
        try:
            self._ledger.fold(ended, {Identity(pid, ticks) for pid, ticks in self._ticks.items()})
            for each in ended:
                self._ended.pop(each.pid, None)
        except Exception:
            self._say("adding up what dead workers counted")
        finally:
            self._folding = False

    def reaped(self, worker: Any) -> None:
        """Note a worker that ended after the look at those that had, and was reaped with them.

        Called from gunicorn's child_exit hook, which isn't given the status: its caller has it.
        """
        frame = sys._getframe()  # noqa: SLF001 - inspect.currentframe() would load half a MiB of modules
        while worker.pid not in self._ended and frame.f_back is not None:
            frame = frame.f_back
            if frame.f_code.co_name == "reap_workers":
                self._note_end(worker.pid, worker, int(frame.f_locals["status"]))

    def _note_order(self, name: str) -> None:
        self._order = name
        if name in _STOPS:
            now = time.time()
            for each in self._lately:
                if not each.signals and now - each.time < _ALONG:
                    self._ended[each.pid] = each._replace(order=name)
            self._lately.clear()
            self.fold()

    def _note_stop(self, *_: object) -> None:
        if self._order not in _STOPS:
            self._order = "stop"

    def _note_signal(self, pid: int, number: int) -> None:
        if number in _ENDING:
            self._ordered.setdefault(pid, self._order)
            sent = self._sent.setdefault(pid, [])
            name = signal.Signals(number).name
            if name not in sent:  # some gunicorns repeat it each second
                sent.append(name)

    def _peek(self, *_: object) -> None:
        """Look at the ends that gunicorn is about to take from the kernel."""
        for pid, worker in list(self._server.WORKERS.items()):
            with contextlib.suppress(OSError):
                if pid not in self._ticks:
                    self._ticks[pid] = Identity.of(pid).ticks
                seen = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if seen is not None:
                    exited = seen.si_code == os.CLD_EXITED
                    self._note_end(pid, worker, seen.si_status << 8 if exited else seen.si_status)

    def _note_end(self, pid: int, worker: Any, status: int | None) -> None:
        self._ended[pid] = ended = Exit(
            pid,
            self._ticks.pop(pid, 0),
            time.time(),
            status=status,
            aborted=bool(getattr(worker, "aborted", False)),
            signals=tuple(self._sent.pop(pid, ())),
            order=self._ordered.pop(pid, None),
        )
        self._lately = [each for each in self._lately if ended.time - each.time < _ALONG] + [ended]


def _wrap(
    server: Any,
    name: str,
    before: Callable[..., None],
    after: Callable[[], None] | None = None,
) -> None:
    """Have something called around a method of this one object."""
    own = getattr(server, name, None)
    if own is None:
        return

    def wrapped(*arguments: object) -> object:
        with contextlib.suppress(Exception):  # never into gunicorn; it costs one fact of one exit
            before(*arguments)
        try:
            return own(*arguments)
        finally:
            if after is not None:
                after()

    setattr(server, name, wrapped)
