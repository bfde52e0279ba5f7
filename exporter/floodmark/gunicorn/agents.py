"""What agents inside the workers tell: whose it is, and sums that don't step back.

A slab knows its worker and master as their own pid namespace has them. What matches a gunicorn that is
watched is that one's, if its folder belongs to root or to that gunicorn's user; what matches none goes by its
folder's name, for it may be of a container that can't be looked into.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from floodmark.agent import ledger, slab
from floodmark.agent.rows import COLLECTIONS, GENERATIONS, SUM
from floodmark.agent.slab import Cell
from floodmark.sources import slabs
from floodmark.sources.available import NO_AGENT, NO_AGENT_DIR
from floodmark.sources.procfs import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from floodmark.agent.slab import Rows
    from floodmark.config import App
    from floodmark.gunicorn.model import AppState, LiveWorker
    from floodmark.sources.available import Available, Lack
    from floodmark.sources.procfs.process import Identity
    from floodmark.sources.slabs import Content, Folder

log = logging.getLogger(__name__)

STOPPED = 60.0  # seconds without a live worker: in a storm all may be dead at once
FRESH = 5.0  # seconds; a scrape's collectors come within them, the next scrape looks again
_GONE = 4  # folders of an app that are told apart after they are gone


class Told(NamedTuple):
    """What a live worker's agent tells of it; None for what it doesn't know.

    Attributes:
        slot: the worker's.
        requests: that it has answered since it started.
        in_flight: requests that it serves now.
        queued: requests that wait inside a gthread worker.
        blocks: memory blocks that Python has allocated.
        live_blocks: those left after the last full collection.
        live_bytes: memory of its own after that, in bytes.
        collections: garbage collections by generation.
    """

    slot: int
    requests: float
    in_flight: int
    queued: float | None
    blocks: float | None
    live_blocks: float | None
    live_bytes: float | None
    collections: tuple[float, ...]


class AppAgents(NamedTuple):
    """What the agents of an app tell.

    Attributes:
        rows: counts of all its workers, those that are no more too, as floodmark.agent.rows names them.
        busy: seconds that its requests took so far, those in flight included.
        workers: the live ones.
        speaks: they count its requests now, so nothing else may.
    """

    rows: Rows
    busy: float
    workers: Mapping[Identity, Told]
    speaks: bool


@dataclasses.dataclass(slots=True)
class _Held:
    """The last reading of a folder: one that is gone, with its container, still counts for its app."""

    label: str
    matched: bool = False
    alive: float = float("-inf")  # steady seconds when a worker of it was seen alive last
    rows: Rows = dataclasses.field(default_factory=dict)
    busy: float = 0.0

    def take(self, rows: Rows, busy: float) -> None:
        """Take in a new reading. Time in flight that ends in no count doesn't step back."""
        again = _answered(rows) < _answered(self.rows)  # somebody removed its ledger: it counts from 0
        self.rows, self.busy = rows, busy if again else max(busy, self.busy)

    def absorb(self, other: _Held) -> None:
        """Add another folder's."""
        ledger.add(self.rows, other.rows)
        self.busy += other.busy


class _Base(NamedTuple):
    """A folder that holds folders of users, and the masters that have it in their own mount namespace."""

    descriptor: int
    masters: set[Identity]


class _Known:
    """The watched gunicorns, by what their slabs call them."""

    def __init__(self, apps: Sequence[AppState]) -> None:
        self.apps = {app.name: app for app in apps}
        self.by_file_name = {ledger.folder_name(app.name): app.name for app in apps}
        self.workers = {
            (app.name, slab.Identity(worker.namespace_pid, worker.identity.start_ticks)): worker
            for app in apps
            for worker in app.workers
        }
        self._masters: dict[slab.Identity, list[tuple[Identity, AppState]]] = {}
        for app in apps:
            for each in app.masters:
                own = slab.Identity(each.namespace_pid, each.identity.start_ticks)
                self._masters.setdefault(own, []).append((each.identity, app))

    def app_of(self, worker: slabs.Worker, base: _Base) -> AppState | None:
        """Return the app of a slab's master, None where there is none, or more than one it could be."""
        found = self._masters.get(worker.master, [])
        if len(found) > 1:  # two containers that started in the same hundredth of a second
            found = [each for each in found if each[0] in base.masters]
        return found[0][1] if len(found) == 1 else None


class Agents:
    """Reads the agents' folders.

    Args:
        root: the host's root folder.
        folders: more of them on the host, beside /dev/shm.
        apps: configured apps by label.
        available: where missing rights are noted.
        clock: steady time in seconds; the agents' own is the same.

    Attributes:
        failure: why the last reading failed as a whole, None where it didn't.
    """

    def __init__(
        self,
        root: Path,
        folders: Sequence[Path],
        apps: Mapping[str, App],
        available: Available,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root, self._proc, self._folders = os.fspath(root), root / "proc", folders
        self._labels = {ledger.folder_name(app.target): label for label, app in apps.items() if app.target}
        self._available, self._clock = available, clock
        self.failure: str | None = None
        self._lock = threading.Lock()
        self._reading: dict[str, AppAgents] = {}
        self._read_at = float("-inf")
        self._asked: set[str] = set()
        self._held: dict[tuple[int, int], _Held] = {}
        self._past: dict[str, _Held] = {}
        # Masters of an app that had a live agent: without live workers it has one still.
        self._speaking: dict[str, frozenset[Identity]] = {}
        self._users: dict[str, frozenset[int]] = {}
        self._faults: dict[tuple[int, int], str] = {}
        self._ledgers: slabs.Ledgers = {}

    def look(self, apps: Sequence[AppState]) -> Mapping[str, AppAgents]:
        """Read what agents tell now, by app: ``apps`` are those there are."""
        with self._lock:
            return self._look(apps)

    def told(self, asker: str, apps: Sequence[AppState]) -> Mapping[str, AppAgents]:
        """Return what the last look read; whoever has had that, or comes late, gets a new one.

        Args:
            asker: who asks.
            apps: the apps there are.
        """
        with self._lock:
            if asker in self._asked or self._clock() - self._read_at > FRESH:
                self._look(apps)
            self._asked.add(asker)
            return self._reading

    def _look(self, apps: Sequence[AppState]) -> Mapping[str, AppAgents]:
        self._asked = set()
        try:
            self._reading, self.failure = self._read(_Known(apps)), None
        except Exception as error:  # noqa: BLE001 - one collector tells it, the others go on without
            self._reading, self.failure = {}, f"{type(error).__name__}: {error}"
        self._read_at = self._clock()
        return self._reading

    def _read(self, known: _Known) -> dict[str, AppAgents]:
        self._learn_users(known)
        users = frozenset().union(*self._users.values())
        workers: dict[str, dict[Identity, Told]] = {}
        seen: set[tuple[int, int]] = set()
        with contextlib.ExitStack() as stack:
            bases, walled = self._open_bases(known, stack)
            for base in bases:
                for folder in slabs.folders(base.descriptor, users, known.by_file_name):
                    if folder.key in seen:
                        continue
                    seen.add(folder.key)
                    try:
                        content = slabs.read(folder, self._ledgers)
                    except (OSError, ValueError) as error:  # what was read last stays
                        self._fault(folder, str(error))
                    else:
                        self._take(folder, content, base, known, workers)
        self._note_speakers(known, workers)
        for app in walled - {held.label for held in self._held.values()}:
            self._available.lacking(_no_agent("its file system is another's"), "agent", app)
        self._forget(known, seen)
        return self._sums(known, workers)

    # --- where they are

    def _open_bases(self, known: _Known, stack: contextlib.ExitStack) -> tuple[list[_Base], set[str]]:
        """Return the folders to look into, each once, and the apps whose own one may not be."""
        bases: dict[tuple[int, int], _Base] = {}

        def find(start: str, path: str) -> _Base:
            descriptor = slabs.open_base(start, path)
            stack.callback(os.close, descriptor)
            status = os.fstat(descriptor)
            return bases.setdefault((status.st_dev, status.st_ino), _Base(descriptor, set()))

        walled = self._find_own(known, find)
        with contextlib.suppress(OSError):
            find(self._root, ledger.USUAL)
        self._find_configured(find)
        return list(bases.values()), walled

    def _find_own(self, known: _Known, find: Callable[[str, str], _Base]) -> set[str]:
        """Find the folder that each master's agent was told, in its own mount namespace."""
        walled: set[str] = set()
        for app in known.apps.values():
            for master in app.masters:
                path = master.agent_dir or ledger.USUAL
                start = "root" if path.startswith("/") else "cwd"
                try:
                    find(f"{self._proc}/{master.identity.pid}/{start}", path).masters.add(master.identity)
                except PermissionError:
                    if app.workers and "floodmark" in (master.settings.text("logger_class") or ""):
                        walled.add(app.name)
                except OSError:  # there is none, or it ended
                    continue
        return walled

    def _find_configured(self, find: Callable[[str, str], _Base]) -> None:
        for folder in self._folders:
            try:
                find(self._root, os.fspath(folder))
            except OSError as error:
                problem = NO_AGENT_DIR.problem.format(f"{folder}: {error.strerror}")
                self._available.lacking(NO_AGENT_DIR._replace(problem=problem), "agent_dirs")
                return
        if self._folders:
            self._available.good("agent_dirs")

    # --- whose they are

    def _learn_users(self, known: _Known) -> None:
        for app in known.apps.values():
            users = set()
            for master in app.masters:
                with contextlib.suppress(OSError, ValueError, KeyError):
                    users.add(process.user(process.read_status(self._proc, master.identity.pid)))
            if users:
                self._users[app.name] = frozenset(users)

    def _owns(self, app: AppState, owner: int) -> bool:
        """Tell whether what a user writes may be taken for an app's."""
        users = self._users.get(app.name)
        if owner == 0 or users is None or owner in users:
            return True
        for worker in app.workers[:1]:
            with contextlib.suppress(OSError, ValueError, KeyError):
                return owner == process.user(process.read_status(self._proc, worker.identity.pid))
        return False

    def _label(self, folder: Folder, matched: Iterable[str], known: _Known) -> tuple[str, bool]:
        """Return an app's label, and whether a process said so."""
        for app in matched:
            return app, True
        held = self._held.get(folder.key)
        if held and held.matched:
            return held.label, True
        label = known.by_file_name.get(folder.name) or self._labels.get(folder.name) or folder.name
        return label, False

    def _take(
        self,
        folder: Folder,
        content: Content,
        base: _Base,
        known: _Known,
        workers: dict[str, dict[Identity, Told]],
    ) -> None:
        owned: dict[str, bool] = {}
        matched: dict[str, dict[Identity, Told]] = {}
        for each in content.workers:
            app = known.app_of(each, base)
            if app is None:
                continue
            if app.name not in owned:
                owned[app.name] = self._owns(app, folder.owner)
            live = known.workers.get((app.name, each.identity))
            if owned[app.name] and live and each.alive:
                matched.setdefault(app.name, {})[live.identity] = _told(live, each)
        label, sure = self._label(folder, matched or (app for app, own in owned.items() if own), known)
        app = known.apps.get(label)
        if app and not self._owns(app, folder.owner):
            self._fault(folder, f"user {folder.owner} is neither root nor the user of {label}")
            return
        for name, told in matched.items():
            workers.setdefault(name, {}).update(told)
        self._note_rights(app, folder, content)
        rows: Rows = {}
        ledger.add(rows, content.dead)
        for each in content.workers:
            # Most rows of most workers are all 0, and adding is what costs.
            ledger.add(
                rows,
                {name: row for name, row in each.rows.items() if name not in rows or any(row)},
            )
        now = self._clock()
        started = (start for each in content.workers if each.alive for start in each.started)
        busy = sum(max(0.0, now - start) for start in started)
        busy += sum(values[SUM] for name, values in rows.items() if name.startswith("request "))
        held = self._held.setdefault(folder.key, _Held(label))
        held.label, held.matched = label, sure
        if any(each.alive for each in content.workers):
            held.alive = now
        held.take(rows, busy)

    def _note_rights(self, app: AppState | None, folder: Folder, content: Content) -> None:
        faults = content.faults
        if content.denied and app:
            self._available.lacking(_no_agent(f"{content.denied}: permission denied"), "agent", app.name)
        elif content.denied:
            faults = (*faults, f"{content.denied}: permission denied")
        elif app and app.masters:
            self._available.good("agent", app.name)
        if faults:
            self._fault(folder, "; ".join(faults[:3]))
        else:
            self._faults.pop(folder.key, None)

    def _fault(self, folder: Folder, reason: str) -> None:
        """Say once what is wrong with a folder."""
        if self._faults.get(folder.key) != reason:
            self._faults[folder.key] = reason
            extra = {"app": folder.name, "user": folder.owner, "reason": reason}
            log.error("what an agent wrote can't be used; all else goes on", extra=extra)

    def _note_speakers(self, known: _Known, workers: Mapping[str, Mapping[Identity, Told]]) -> None:
        for app in known.apps.values():
            masters = frozenset(master.identity for master in app.masters)
            if app.name in workers:
                self._speaking[app.name] = masters
            elif masters and not masters & self._speaking.get(app.name, frozenset()):
                self._speaking.pop(app.name, None)

    # --- sums

    def _forget(self, known: _Known, seen: set[tuple[int, int]]) -> None:
        """Drop what no app is there for; of folders that are gone keep little more than their sum."""
        # An app that nobody watches, and that had no worker for a while, has stopped; its folder stays a day.
        now = self._clock()
        held = [self._held[key] for key in seen & self._held.keys()]
        labels = {each.label for each in held if now - each.alive < STOPPED}
        labels |= known.apps.keys()
        self._held = {key: held for key, held in self._held.items() if held.label in labels}
        self._past = {label: held for label, held in self._past.items() if label in labels}
        self._users = {label: users for label, users in self._users.items() if label in known.apps}
        self._speaking = {label: who for label, who in self._speaking.items() if label in known.apps}
        self._faults = {key: reason for key, reason in self._faults.items() if key in seen}
        self._ledgers = {key: read for key, read in self._ledgers.items() if key in seen}
        for label in labels:
            gone = [key for key, held in self._held.items() if held.label == label and key not in seen]
            for key in gone[:-_GONE]:
                self._past.setdefault(label, _Held(label)).absorb(self._held.pop(key))

    def _sums(self, known: _Known, workers: Mapping[str, Mapping[Identity, Told]]) -> dict[str, AppAgents]:
        sums: dict[str, _Held] = {}
        for part in (*self._past.values(), *self._held.values()):
            sums.setdefault(part.label, _Held(part.label)).absorb(part)
        return {
            label: AppAgents(
                total.rows,
                total.busy,
                workers.get(label, {}),
                speaks=label in self._speaking or label not in known.apps,
            )
            for label, total in sums.items()
        }


def _told(live: LiveWorker, seen: slabs.Worker) -> Told:
    return Told(
        live.slot,
        _answered(seen.rows),
        seen.in_flight,
        _known(seen.header[Cell.QUEUED]),
        _known(seen.header[Cell.BLOCKS]),
        _known(seen.header[Cell.LIVE_BLOCKS]),
        _known(seen.header[Cell.LIVE_BYTES]),
        tuple(
            seen.rows[f"gc {each}"][COLLECTIONS] for each in range(GENERATIONS) if f"gc {each}" in seen.rows
        ),
    )


def _answered(rows: Rows) -> float:
    return sum(sum(values[:SUM]) for name, values in rows.items() if name.startswith("request "))


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _no_agent(problem: str) -> Lack:
    return NO_AGENT._replace(problem=NO_AGENT.problem.format(problem))
