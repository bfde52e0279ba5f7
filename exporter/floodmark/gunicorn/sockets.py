"""Which sockets are an app's: those it listens on, and the connections its workers hold."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

from floodmark.gunicorn.saturation import POLLS_IDLE, SELECT, Seen
from floodmark.sources.available import NO_BACKLOG, NO_BUSY
from floodmark.sources.listening import Connections
from floodmark.sources.procfs import process
from floodmark.sources.procfs import sockets as of_process
from floodmark.sources.sockdiag import SockDiag

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from floodmark.gunicorn.find import Master
    from floodmark.gunicorn.model import AppState
    from floodmark.sources.available import Available
    from floodmark.sources.listening import Listener
    from floodmark.sources.procfs.process import Files, Identity

MOST_LISTENERS = 16  # of an app; each is a series


class AppSockets(NamedTuple):
    """What was seen of an app's sockets.

    Attributes:
        listeners: what it listens on, None where that can't be told.
        files: open files of each worker that may be looked into.
        seen: what each worker does, those where it can be told from outside and wasn't by its agent.
    """

    listeners: tuple[Listener, ...] | None
    files: Mapping[Identity, Files]
    seen: Mapping[Identity, Seen]


class _Found(NamedTuple):
    listeners: Mapping[int, Listener]
    connections: Connections


_NOTHING = _Found({}, Connections(frozenset()))


class Sockets:
    """Looks at the sockets of apps.

    Args:
        proc: the host's /proc.
        available: where missing rights are noted.
        ask_kernel: whether /proc is of the running kernel, that it may be asked by sock_diag too.
    """

    def __init__(self, proc: Path, available: Available, *, ask_kernel: bool) -> None:
        self._proc, self._available, self._ask_kernel = proc, available, ask_kernel
        self._select = SELECT.get(os.uname().machine)
        # What an app's workers held when it last had any: a crash loop is when the backlog matters most.
        self._held: dict[str, frozenset[int]] = {}

    def look(self, app: AppState, told: Collection[Identity] = ()) -> AppSockets:
        """Look at an app's sockets; what the workers in ``told`` do is known without."""
        files, walled = self._open_files(app)
        if files:
            self._held[app.name] = frozenset(
                inode for each in files.values() for inode in each.sockets.values()
            )
        held = self._held.get(app.name, frozenset())
        found = [self._find(master, held) for master in app.masters]
        # An upgraded gunicorn and its successor have the same ones.
        by_inode = {inode: listener for each in found for inode, listener in each.listeners.items()}
        listeners = tuple(sorted(by_inode.values(), key=lambda each: each.address))[:MOST_LISTENERS]
        if not all(each.listeners for each in found):  # then not all connections are known either
            listeners = ()
        self._note(app, listeners, walled=walled)
        if not listeners:
            return AppSockets(None, files, {})
        known = _joined([each.connections for each in found])
        worker_class = app.masters[0].settings.worker_class
        seen = {
            identity: one
            for identity, each in files.items()
            if identity not in told and (one := self._seen(identity.pid, each, known, worker_class))
        }
        return AppSockets(listeners, files, seen)

    def _open_files(self, app: AppState) -> tuple[dict[Identity, Files], bool]:
        """Return each worker's open files, and whether some may not be looked into."""
        files: dict[Identity, Files] = {}
        walled = False
        for worker in app.workers:
            try:
                files[worker.identity] = process.read_files(self._proc, worker.identity.pid)
            except PermissionError:
                walled = True
            except OSError:  # it ended
                continue
        return files, walled

    def _note(self, app: AppState, listeners: Sequence[Listener], *, walled: bool) -> None:
        if not app.masters or not app.workers:  # nothing to look at is no lack
            return
        if listeners:
            self._available.good("backlog", app.name)
        else:
            self._available.lacking(NO_BACKLOG, "backlog", app.name)
        if walled:
            self._available.lacking(NO_BUSY, "busy", app.name)
        elif listeners:
            self._available.good("busy", app.name)

    # --- what it listens on

    def _find(self, master: Master, held: frozenset[int]) -> _Found:
        """Find a master's listeners: by sock_diag in our network namespace or in its own, else by /proc."""
        mine = self._listening(master, held)
        its_own = self._proc / f"{master.identity.pid}/ns/net"
        for namespace in (None, its_own) if mine and self._ask_kernel else ():
            with contextlib.suppress(OSError), SockDiag(namespace) as asking:
                every = asking.listeners()
                if listeners := {inode: every[inode] for inode in mine if inode in every}:
                    return _Found(listeners, asking.connections(listeners.values()))
        with contextlib.suppress(OSError):
            return self._by_proc(master, mine)
        return _NOTHING

    def _listening(self, master: Master, held: frozenset[int]) -> frozenset[int]:
        """Return the inodes of the sockets that a master shares with its workers, as far as one may look."""
        with contextlib.suppress(OSError):
            return held.intersection(process.read_files(self._proc, master.identity.pid).sockets.values())
        return frozenset()

    def _by_proc(self, master: Master, mine: frozenset[int]) -> _Found:
        """Find listeners by inode or, without the right to know those, by the address it was told to bind."""
        binds = frozenset() if mine else master.settings.binds
        listeners: dict[int, Listener] = {}
        others: dict[int, int | str] = {}
        inodes: set[int] = set()
        for part in of_process.read(self._proc, master.identity.pid):
            others |= part.others
            inodes |= part.others.keys() | part.listeners.keys()
            listeners |= {
                inode: listener
                for inode, listener in part.listeners.items()
                if inode in mine or listener.address in binds
            }
            if len(listeners) >= len(mine or binds):
                break
        endpoints = {listener.endpoint for listener in listeners.values()}
        accepted = frozenset(inode for inode, endpoint in others.items() if endpoint in endpoints)
        has_unix = any(isinstance(endpoint, str) for endpoint in endpoints)
        return _Found(listeners, Connections(accepted, frozenset(inodes) if has_unix else None))

    # --- what its workers hold

    def _seen(self, pid: int, files: Files, known: Connections, worker_class: str | None) -> Seen | None:
        connections = {number for number, inode in files.sockets.items() if inode in known.accepted}
        polled: set[int] = set()
        try:
            if known.unix is not None:
                connections |= self._from_elsewhere(pid, files, known.accepted | known.unix)
            if connections and worker_class in POLLS_IDLE:
                for poll in files.polls:
                    polled |= process.read_polled(self._proc, pid, poll)
        except OSError:  # it ended
            return None
        in_select = None if connections or worker_class != "sync" else self._in_select(pid)
        return Seen(len(connections), len(connections & polled), in_select)

    def _from_elsewhere(self, pid: int, files: Files, known: frozenset[int]) -> set[int]:
        """Return the unix sockets that a worker holds and that were made in another network namespace."""
        found: set[int] = set()
        for number, inode in files.sockets.items():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                if inode not in known and process.is_unix_socket(self._proc, pid, number):
                    found.add(number)
        return found

    def _in_select(self, pid: int) -> bool | None:
        if self._select is None:
            return None
        try:
            return process.read_syscall(self._proc, pid) in self._select
        except OSError:  # also where yama lets no one but a parent look
            return None


def _joined(every: Sequence[Connections]) -> Connections:
    unix = [each.unix for each in every if each.unix is not None]
    return Connections(
        frozenset().union(*(each.accepted for each in every)), frozenset().union(*unix) if unix else None
    )
