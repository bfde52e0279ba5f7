"""An app's ledger: what its dead workers had counted, and how each of the last ones ended.

One file of constant size beside the slabs, replaced as a whole: two lines of JSON, then spaces.

    {"version": 1, "counts": {"request GET 200": [3, 1, ...], ...}, "folded": ["812-99134.slab", ...]}
    [{"pid": 812, "ticks": 99134, "time": 1795167012.3, "status": 9, ...}, ...]

A dead worker's slab is folded into it by its master. The counts, the slab's name in ``folded`` and how it
ended come with one rename, only then is the slab removed: whoever is killed in between, the next who folds
finds the name and counts nothing twice. Who reads takes the slabs first, then the ledger, and leaves out the
slabs that are folded by then: no lock is needed for a sum that misses nothing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import operator
import os
import time
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, NamedTuple

from floodmark.agent import slab
from floodmark.agent.rows import BOUNDS, METHODS, OTHER, QUOTAS, SUM, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from floodmark.agent.slab import Identity, Rows, Snapshot

NAME = "ledger"
VARIABLE = "FLOODMARK_AGENT_DIR"  # of the app's environment: the folder that holds folders of users
USUAL = "/dev/shm"  # noqa: S108 - that folder where none is set; what is made in it is checked to be our own
VERSION = 1
SIZE = 32768
FOLDED = 64  # a reader sees slabs and ledger within milliseconds: so many don't die meanwhile
_LONGEST = 200  # bytes of a folder's name
_FORGOTTEN = 86400.0  # seconds after which an app's folder is removed, when nothing of it lives
_UNFINISHED = 60.0  # seconds after which a slab that has no name yet never gets one
_WAIT = 0.1  # seconds for another master of the same app, as there are two during an upgrade


class Exit(NamedTuple):
    """How a worker ended, as its master saw it.

    Attributes:
        pid: in the app's pid namespace.
        ticks: its start time in clock ticks since boot; together they identify it.
        time: Unix time at which its master reaped it.
        status: wait status, None where it was another master's.
        aborted: gunicorn gave it up for its silence.
        signals: what its master sent it, oldest first: SIGABRT, SIGTERM, SIGKILL.
        order: the last signal that the master had handled before the first of those: hup, term, ttou, ...;
            stop where it stopped by itself. Without any of those: one to stop that came right after the end.
        recycled: it had logged that it reached max_requests.
        booted: its app was loaded.
        left: it went through gunicorn's own way out, so nothing ended it from outside.
        in_flight: requests it was serving, and for how many seconds.
        stack: its threads' stacks at a SIGABRT.
    """

    pid: int
    ticks: int
    time: float
    status: int | None = None
    aborted: bool = False
    signals: tuple[str, ...] = ()
    order: str | None = None
    recycled: bool = False
    booted: bool = False
    left: bool = False
    in_flight: tuple[tuple[str, float], ...] = ()
    stack: str | None = None


class Counts(NamedTuple):
    """The first line: rows of the dead, and the names of the slabs that are in them."""

    rows: Rows
    folded: list[str]


def folder_name(app: str) -> str:
    """Return what an app's folder is called."""
    name = "".join(each if each.isalnum() or each in ".-_:" else "_" for each in app)
    name = f"_{name}" if name.startswith(".") or not name else name
    return slab.clip(name, _LONGEST).decode()


def folder_of(base: str, app: str) -> str:
    """Make an app's folder for this user, and return its path.

    Raises:
        OSError: it can't be made, or isn't this user's own.
    """
    own = os.path.join(base, f"floodmark-{os.geteuid()}")
    path = os.path.join(own, folder_name(app))
    for each in (own, path):
        with contextlib.suppress(FileExistsError):
            os.mkdir(each)
            os.chmod(each, 0o755)  # noqa: S103 - whatever the umask is: floodmark may be another user
        if os.lstat(each).st_uid != os.geteuid() or not os.path.isdir(each) or os.path.islink(each):
            raise PermissionError(errno.EPERM, "not a folder of this user's own", each)
    return path


def slabs(folder: str) -> Iterator[tuple[str, Snapshot]]:
    """Yield name and content of each slab; what isn't one, or is gone meanwhile, is left out."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.endswith(slab.SUFFIX)]
    for name in names:
        with contextlib.suppress(OSError, ValueError):
            yield name, slab.read(os.path.join(folder, name))


def add(total: Rows, rows: Rows) -> None:
    """Add rows to a total, which stays as bounded as a slab is."""
    for name, values in rows.items():
        at = name if name in total else _within_quota(total, name)
        total[at] = list(map(operator.add, total[at], values)) if at in total else list(values)


def _within_quota(total: Rows, name: str) -> str:
    kind = name.partition(" ")[0]
    if kind not in QUOTAS or name == OTHER[kind] or name.endswith(UNKNOWN):
        return name
    others = sum(each.startswith(f"{kind} ") and each != OTHER[kind] for each in total)
    return name if others < QUOTAS[kind] else OTHER[kind]


def counts(folder: str) -> Counts:
    """Read the counts of the dead; none where no worker has died yet.

    Raises:
        OSError: it can't be read.
        ValueError: it isn't a ledger of this version.
    """
    return _counts(_lines(folder)[0])


def _counts(first: bytes) -> Counts:
    if not first:
        return Counts({}, [])
    document = json.loads(first)
    if document["version"] != VERSION:
        raise ValueError(f"ledger of version {document['version']}, not {VERSION}")
    rows = {name: values + [0.0] * (slab.VALUES - len(values)) for name, values in document["counts"].items()}
    return Counts(rows, document["folded"])


def exits(folder: str) -> list[Exit]:
    """Read how the last workers ended, oldest first.

    Raises:
        OSError: it can't be read.
        ValueError: it isn't a ledger.
    """
    return _exits(_lines(folder)[1])


def _exits(second: bytes) -> list[Exit]:
    try:
        return [_exit(each) for each in json.loads(second or b"[]")]
    except (TypeError, KeyError) as error:
        raise ValueError(f"no ledger: {error}") from error


def _lines(folder: str) -> tuple[bytes, bytes]:
    try:
        descriptor = os.open(
            os.path.join(folder, NAME), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        )
    except FileNotFoundError:
        return b"", b""
    with open(descriptor, "rb") as file:
        first, _, second = file.read(SIZE + 1).partition(b"\n")
    return first, second


def _exit(record: dict[str, Any]) -> Exit:
    signals, in_flight = record.pop("signals", ()), record.pop("in_flight", ())
    return Exit(
        **record,
        signals=tuple(signals),
        in_flight=tuple((str(text), float(seconds)) for text, seconds in in_flight),
    )


class Ledger:
    """The master's side: folds the slabs of dead workers, of its own and of an earlier master's.

    Args:
        folder: the app's.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def fold(self, ended: list[Exit], waiting: Container[Identity] = ()) -> None:
        """Fold dead workers' slabs, and note how workers ended.

        Args:
            ended: what the master knows of those it reaped; what their slabs tell is added to it.
            waiting: those it hasn't reaped yet: they may be dead, but nothing is known of it.

        Raises:
            OSError: the ledger can't be read or written. Nothing is lost: the slabs are still there.
            ValueError: the ledger is no ledger.
        """
        with self._alone():
            dead = [
                (name, seen)
                for name, seen in slabs(self.folder)
                if not seen.alive and seen.worker() not in waiting
            ]
            # Also an empty one is written: from its first worker on an app takes as much room as ever.
            if not dead and not ended and os.path.exists(os.path.join(self.folder, NAME)):
                return
            (rows, folded), past = self._read()
            now = time.monotonic()
            earlier = {(each.pid, each.ticks): each for each in past}
            known = {
                (each.pid, each.ticks): _with_slab_of(earlier.get((each.pid, each.ticks)), each)
                for each in ended
            }
            for name, seen in dead:
                identity = seen.worker()
                if name not in folded:
                    told = known.get(identity, earlier.get(identity))
                    # Of another master's worker nobody knows when it ended: it may have been days ago.
                    died = now if told else None
                    add(rows, seen.rows())
                    add(rows, _cut_off(seen, died))
                    folded.append(name)
                    known[identity] = _told(told, identity, seen, died)
            self._write(rows, folded[-FOLDED:], list({**earlier, **known}.values()))
            for name, _ in dead:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self.folder, name))

    def _read(self) -> tuple[Counts, list[Exit]]:
        try:
            first, second = _lines(self.folder)
            return _counts(first), _exits(second)
        except ValueError as error:
            aside = os.path.join(self.folder, f"{NAME}.unusable")
            os.rename(os.path.join(self.folder, NAME), aside)
            raise ValueError(f"{error}; it is put aside as {aside}, and a new one begins") from error

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            deadline = time.monotonic() + _WAIT
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(_WAIT / 20)
            yield
        finally:
            os.close(descriptor)

    def _write(self, rows: Rows, folded: list[str], ended: list[Exit]) -> None:
        short = {name: _short(values) for name, values in rows.items() if any(values)}
        head = json.dumps({"version": VERSION, "counts": short, "folded": folded}, separators=(",", ":"))
        tail: list[str] = []
        room = SIZE - len(head.encode()) - 16
        for each in reversed(ended):
            record = json.dumps(_record(each), separators=(",", ":"))
            room -= len(record.encode()) + 1
            if room < 0:
                break
            tail.append(record)
        content = f"{head}\n[{','.join(reversed(tail))}]".encode().ljust(SIZE)
        new = os.path.join(self.folder, NAME + ".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o644)
            file.write(content)
        os.rename(new, os.path.join(self.folder, NAME))


def _cut_off(seen: Snapshot, died: float | None) -> Rows:
    """Return the requests in flight at a worker's end, of unknown status: their answer may be out.

    Args:
        seen: its slab.
        died: steady seconds of its end, None where that isn't known: then they took no time that is known.
    """
    rows: Rows = {}
    begun = [(text.partition(" ")[0], seconds) for text, seconds in _in_flight(seen, died)]
    crowd = int(seen.header()[slab.Cell.CROWD])
    for method, seconds in begun + [("other", 0.0)] * crowd:
        known = method if method in METHODS else "other"
        values = rows.setdefault(f"request {known} {UNKNOWN}", [0.0] * slab.VALUES)
        values[bisect_left(BOUNDS, seconds)] += 1.0
        values[SUM] += seconds
    return rows


def _in_flight(seen: Snapshot, died: float | None) -> list[tuple[str, float]]:
    return [(each.text, 0.0 if died is None else max(0.0, died - each.started)) for each in seen.in_flight()]


def _told(known: Exit | None, identity: Identity, seen: Snapshot, died: float | None) -> Exit:
    header = seen.header()
    wanted = bool(header[slab.Cell.LEFT]) and not (known and known.aborted)
    in_flight = [] if wanted or died is None else _in_flight(seen, died)
    return (known or Exit(identity.pid, identity.ticks, time.time()))._replace(
        recycled=bool(header[slab.Cell.RECYCLED]),
        booted=bool(header[slab.Cell.BOOTED]),
        left=bool(header[slab.Cell.LEFT]),
        in_flight=tuple((text, round(seconds, 1)) for text, seconds in in_flight),
        stack=seen.stack,
    )


def _with_slab_of(earlier: Exit | None, ended: Exit) -> Exit:
    if earlier is None:
        return ended
    return earlier._replace(
        status=ended.status, aborted=ended.aborted, signals=ended.signals, order=ended.order
    )


def _record(ended: Exit) -> dict[str, object]:
    """Return it as JSON has it, without what says nothing: there is little room."""
    return {name: value for name, value in ended._asdict().items() if value or name == "status"}


def _short(values: list[float]) -> list[float]:
    used = len(values)
    while used and not values[used - 1]:
        used -= 1
    return [int(value) if value == int(value) else value for value in values[:used]]


def forget_old(own: str, now: float) -> None:
    """Remove the folders of this user's apps that are long gone, like those with a release in their name.

    And what a worker that was killed right at its start left in those that aren't.

    Args:
        own: the folder of the app that starts: however old, it goes on from there.
        now: Unix time.
    """
    with os.scandir(os.path.dirname(own)) as entries:
        apps = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    for app in apps:
        with contextlib.suppress(OSError):
            for name in os.listdir(app):
                path = os.path.join(app, name)
                if name.endswith(f"{slab.SUFFIX}.new") and now - os.stat(path).st_mtime > _UNFINISHED:
                    os.unlink(path)
            old = now - os.stat(os.path.join(app, NAME)).st_mtime > _FORGOTTEN
            if app != own and old and not any(seen.alive for _, seen in slabs(app)):
                for name in os.listdir(app):
                    os.unlink(os.path.join(app, name))
                os.rmdir(app)
