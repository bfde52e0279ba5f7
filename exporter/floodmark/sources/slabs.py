"""What the agents inside apps write: a slab for each worker, a ledger for each app (floodmark/agent/).

    /dev/shm/floodmark-33/shop/ledger
    /dev/shm/floodmark-33/shop/812-99134.slab
    /dev/shm/floodmark-33/shop/815-99140.slab

Every local user may write to /dev/shm: nothing in there is believed to be what its name says, no link is
followed, and how much is looked at is bounded.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import re
import stat
import struct
from typing import TYPE_CHECKING, NamedTuple

from floodmark.agent import ledger, slab
from floodmark.agent.slab import Cell, Identity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from floodmark.agent.ledger import Counts
    from floodmark.agent.slab import Rows, Snapshot

    # By a folder's key: a ledger's inode and time of change, and what it counts.
    Ledgers = dict[tuple[int, int], tuple[tuple[int, int], Counts]]

MOST_USERS = 64
MOST_APPS = 64  # of a user: whoever fills his own folder takes no other's place
MOST_SLABS = 512  # of an app
_MOST_ENTRIES = 4096  # that are looked at in a folder where anybody may make some
_USER = re.compile(r"floodmark-(\d{1,10})")
_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Folder(NamedTuple):
    """An app's folder.

    Attributes:
        descriptor: open while its turn lasts: by its path it could be another one the next moment.
        name: the app's, as far as a file may be called so.
        owner: user id; all in it is this user's.
        key: device and inode, which are its own in every mount namespace.
    """

    descriptor: int
    name: str
    owner: int
    key: tuple[int, int]


class Worker(NamedTuple):
    """What a worker's slab tells.

    Attributes:
        identity: the worker's, in its app's pid namespace.
        master: its master's, there too.
        alive: it still writes.
        header: by Cell; unknown values are NaN.
        started: steady seconds when its requests in flight began, as far as those are told one by one.
        rows: its counts.
    """

    identity: Identity
    master: Identity
    alive: bool
    header: tuple[float, ...]
    started: tuple[float, ...]
    rows: Rows

    @property
    def in_flight(self) -> int:
        """Requests that it serves now."""
        return len(self.started) + int(self.header[Cell.CROWD])


class Content(NamedTuple):
    """What is in an app's folder.

    Attributes:
        workers: those that aren't in ``dead``.
        dead: the counts of all workers that are no more.
        faults: what else is in there, and couldn't be used.
        denied: a file that may not be read, None where there is none.
    """

    workers: tuple[Worker, ...]
    dead: Rows
    faults: tuple[str, ...]
    denied: str | None


def open_base(start: str, path: str) -> int:
    """Open a folder below a process's or the host's root, without following a link out of there.

    Args:
        start: that root; this one may be a link, as /proc/PID/root is.
        path: absolute, as it is seen from there.

    Raises:
        OSError: there is no such folder, or it may not be opened.
    """
    descriptor = os.open(start, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    parts = [part for part in path.split("/") if part not in ("", ".")]
    try:
        for place, part in enumerate(parts):
            kind = os.O_RDONLY if place + 1 == len(parts) else os.O_PATH
            further = os.open(part, kind | _FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = further
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def folders(base: int, users: Collection[int], apps: Collection[str]) -> Iterator[Folder]:
    """Yield the apps' folders in a folder; each is open until the next one is asked for.

    Args:
        base: descriptor of the folder.
        users: those of known gunicorns: their folders come first, and need to be no user's by name, for in a
            user namespace the app calls its user by another number.
        apps: names of known apps' folders, which come first too.
    """
    names = dict.fromkeys(f"floodmark-{user}" for user in sorted(users))
    with contextlib.suppress(OSError), os.scandir(base) as entries:
        names |= dict.fromkeys(entry.name for entry in itertools.islice(entries, _MOST_ENTRIES))
    matches = list(filter(None, map(_USER.fullmatch, names)))
    for match in matches[:MOST_USERS]:
        yield from _of_user(base, match[0], {int(match[1]), *users}, apps)


def _of_user(base: int, name: str, users: set[int], known: Collection[str]) -> Iterator[Folder]:
    with _opened(base, name) as descriptor:
        if descriptor is None or (owner := os.fstat(descriptor).st_uid) not in users:
            return
        with os.scandir(descriptor) as entries:
            apps = sorted(entry.name for entry in itertools.islice(entries, _MOST_ENTRIES))
        apps.sort(key=lambda app: app not in known)
        for app in apps[:MOST_APPS]:
            with _opened(descriptor, app) as own:
                if own is None or (status := os.fstat(own)).st_uid != owner:
                    continue
                yield Folder(own, _printable(app), owner, (status.st_dev, status.st_ino))


@contextlib.contextmanager
def _opened(base: int, name: str) -> Iterator[int | None]:
    """Open a real folder in another; None for what is none, is gone, or may not be opened."""
    try:
        descriptor = os.open(name, os.O_RDONLY | _FOLDER, dir_fd=base)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read(folder: Folder, ledgers: Ledgers) -> Content:
    """Read an app's folder: slabs first, then the ledger, so that no worker is missed or counted twice.

    Args:
        folder: the app's.
        ledgers: what was read last, and is now: in most apps nobody has died since the last scrape.

    Raises:
        OSError: it can't be read.
        ValueError: its ledger is none, or there are too many slabs.
    """
    path = f"/proc/self/fd/{folder.descriptor}"
    with os.scandir(folder.descriptor) as entries:
        named = (entry.name for entry in entries if entry.name.endswith(slab.SUFFIX))
        names = list(itertools.islice(named, MOST_SLABS + 1))
    if len(names) > MOST_SLABS:
        raise ValueError(f"more than {MOST_SLABS} slabs")
    workers: dict[str, Worker] = {}
    faults: list[str] = []
    denied = None
    for name in names:
        try:
            workers[name] = _worker(slab.read(f"{path}/{name}"))
        except FileNotFoundError:  # folded meanwhile: the ledger has it
            continue
        except PermissionError:
            denied = _printable(name)
        except ValueError as error:
            faults.append(f"{_printable(name)}: {error}")
        except OSError as error:
            if stat.S_ISREG(os.stat(name, dir_fd=folder.descriptor, follow_symlinks=False).st_mode):
                raise  # without it the sum would step back
            faults.append(f"{_printable(name)}: {error.strerror}")
    try:
        dead, folded = _dead(folder, path, ledgers)
    except PermissionError:
        return Content((), {}, tuple(faults), ledger.NAME)
    live = tuple(worker for name, worker in workers.items() if name not in folded)
    return Content(live, dead, tuple(faults), denied)


def _worker(seen: Snapshot) -> Worker:
    try:
        header, rows = seen.header(), seen.rows()
        if not math.isfinite(sum(map(sum, rows.values()))):
            raise ValueError("no slab: a count that is no number")
        master = Identity(int(header[Cell.MASTER_PID]), int(header[Cell.MASTER_TICKS]))
        started = tuple(each.started for each in seen.in_flight())
        own = Identity(int(header[Cell.PID]), int(header[Cell.TICKS]))
        worker = Worker(own, master, seen.alive, header, started, rows)
        worker.in_flight  # noqa: B018 - a number, or it raises here
    except (OverflowError, struct.error) as error:
        raise ValueError(f"no slab: {error}") from error
    return worker


def _dead(folder: Folder, path: str, ledgers: Ledgers) -> Counts:
    try:
        status = os.stat(f"{path}/{ledger.NAME}", follow_symlinks=False)  # noqa: PTH116 - at every scrape
    except FileNotFoundError:
        return ledger.Counts({}, [])
    version = status.st_ino, status.st_mtime_ns
    known = ledgers.get(folder.key)
    if known is None or known[0] != version:
        known = ledgers[folder.key] = version, _checked(path)
    return known[1]


def _checked(path: str) -> Counts:
    try:
        rows, folded = ledger.counts(path)
        checked = {_printable(name): [float(value) for value in values] for name, values in rows.items()}
        for values in checked.values():
            if len(values) != slab.VALUES or not math.isfinite(sum(values)):
                raise ValueError("no ledger: a row that is none")
        return ledger.Counts(checked, [str(name) for name in folded])
    except (TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"no ledger: {error!r}") from error


def _printable(name: str) -> str:
    """Return a name without half characters, which no page can hold."""
    return name.encode("utf-8", "replace").decode()
