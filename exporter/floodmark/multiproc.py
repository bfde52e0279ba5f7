"""Apps' own prometheus_client metrics: their folder served, and the files of their dead processes merged.

prometheus_client reads a set of files for each process that ever lived. Here those that no process has open
for writing (the kernel says so: sources/lease.py) are merged into one file per type, which
prometheus_client's own collector reads as it would read theirs.

A merge replaces several names by one, which no system call does. So that no reader ever gets a wrong sum:

1. ``.floodmark.merged`` is written: the sum of the dead files and of the last merged file.
2. The guard appears: a link to nowhere that a collector takes for a file, and fails at. Who listed the folder
   before fails too, at a file that is gone: a merged file's name is never used again.
3. The dead files, and the last merged one, are renamed aside. The leases tell that still nobody opened one;
   else all goes back, and who waits in open(2) for the lease goes on with its file under its old name.
4. ``.floodmark.merged`` gets its name. **This one rename is what counts.**
5. The guard goes, then the files aside.

Whoever finds ``.floodmark.merged`` after a crash puts back what stands aside; who doesn't find it deletes
that. Nothing is synced to disk: what a power cut takes, the app's processes die with.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import re
import tempfile
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from floodmark.sources import lease, multiproc
from floodmark.sources.available import Lack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from floodmark.sources.available import Available

SOURCE = "prometheus_multiproc_dir"
KEPT_PIDS = 16  # dead processes whose gauges of mode "all" (a series for each pid) are kept
BATCH = 128  # files merged at a time: each is a descriptor
_EVERY = 10.0  # seconds
_TRIES = 3  # at a folder that changes while it is read
_OURS = ".floodmark."
_MERGED = ".floodmark.merged"
_ASIDE = ".floodmark.aside."
_GUARD = "counter_floodmark-merging.db"
_OWN = re.compile(r"floodmark-(\d+)\.db$")
_SHM = "/dev/shm"  # noqa: S108 - a folder of a name that can't be guessed is made in it

NO_RIGHT = Lack(
    "the files of dead processes can't be merged: {}",
    "the app's metrics are served, but each process that ever lived makes that slower",
    "run floodmark as the app's user, or as root with CAP_LEASE, CAP_CHOWN, CAP_FOWNER and CAP_DAC_OVERRIDE"
    " (root on a host has them; compose: cap_add), with the folder mounted writable",
)
NO_FOLDER = Lack(
    "the folder can't be read: {}",
    "/apps/{}/metrics answers 503",
    "start the app, or correct prometheus_multiproc_dir; floodmark's user must be able to read it",
)
UNREADABLE = Lack(
    "left out and left alone: {}",
    "what is counted in there is missing in /apps/{}/metrics",
    "prometheus_client 0.18 or newer in the app; or move the file away",
)


class ChangingError(OSError):
    """Another process is merging the folder's files."""


class _Dead(NamedTuple):
    name: str
    descriptor: int  # holds a lease


class Folder:
    """A folder of an app's multiprocess files; serves and merges, from different threads.

    Args:
        path: as floodmark sees it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def families(self) -> list[multiproc.Family]:
        """Return what prometheus_client's own collector would say of all files, in little memory.

        A file that isn't prometheus_client's is left out.

        Raises:
            OSError: the folder or a file can't be read.
            UnreadableError: no file is prometheus_client's.
        """
        for left in reversed(range(_TRIES)):
            try:
                with self._lock, self._opened() as folder:
                    return _families(folder)
            except (FileNotFoundError, ChangingError):
                # The app starts anew, or another floodmark is at work.
                if not left:
                    raise
                time.sleep(0.01)
        raise AssertionError

    def merge(self) -> dict[str, str]:
        """Merge the files of dead processes; return what is wrong with files that were left alone, by name.

        Raises:
            PermissionError: floodmark may not do that here.
            OSError: it can't be done here.
        """
        with self._opened() as folder:
            if not os.access(self.path, os.W_OK | os.X_OK, effective_ids=True):
                raise PermissionError(errno.EACCES, "the folder is not writable")
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return {}  # another floodmark is at it
            with self._lock:
                _settle(folder)
            wrong: dict[str, str] = {}
            for group in _groups(folder):
                names = _names(folder, group)
                if multiproc.is_live(group):
                    _drop(folder, names, wrong)
                elif multiproc.is_by_process(group):
                    _drop(folder, _newest_first(folder, names), wrong, spare=KEPT_PIDS)
                else:
                    merged = [name for name in names if _OWN.search(name)]
                    for batch in _batches([name for name in names if not _OWN.search(name)]):
                        merged = self._merge(folder, group, batch, merged, wrong)
            return wrong

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        # All goes by this descriptor: the path may lead elsewhere a moment later.
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield folder
        finally:
            os.close(folder)

    def _merge(
        self, folder: int, group: str, names: Iterable[str], before: list[str], wrong: dict[str, str]
    ) -> list[str]:
        """Merge a group's dead files with those merged ``before``; return what took their place."""
        values: multiproc.Values = {}
        with contextlib.ExitStack() as stack:
            dead = _folded(_leased(folder, names, wrong, stack), group, values, wrong)
            if not dead:
                return before
            dead += _folded(_leased(folder, before, wrong, stack), group, values, wrong)
            number = max((int(found[1]) for name in before if (found := _OWN.search(name))), default=0) + 1
            name = f"{group}_floodmark-{number}.db"
            try:
                _write(folder, dead, values)
                with self._lock:
                    done = _replace(folder, dead, name)
            except FileNotFoundError:
                done = False  # the app starts anew, and has wiped the folder
            finally:
                with self._lock:
                    _settle(folder)
        return [name] if done else before


def _families(folder: int) -> list[multiproc.Family]:
    wrong: dict[str, str] = {}
    shm = _SHM if os.access(_SHM, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="floodmark-", dir=shm) as scratch:
        # One small file for each type is all that the library, which keeps every row, gets to read.
        paths, files = [], 0
        for group in _groups(folder):
            names = _names(folder, group)
            files += len(names)
            together = (
                [(name, [name]) for name in names]
                if multiproc.is_by_process(group)
                else [(f"{group}_0.db", names)]
            )
            for target, of in together:
                values: multiproc.Values = {}
                for name in of:
                    _add(folder, name, group, values, wrong)
                paths.append(f"{scratch}/{target}")
                with open(paths[-1], "xb") as file:  # noqa: PTH123 - a path of text is what the library wants
                    multiproc.write(file.fileno(), values)
        if wrong and len(wrong) == files:
            raise multiproc.UnreadableError(_listed(wrong))
        return multiproc.families(paths)


def _add(folder: int, name: str, group: str, values: multiproc.Values, wrong: dict[str, str]) -> None:
    try:
        descriptor = multiproc.opened(folder, name)
    except FileNotFoundError:
        if multiproc.is_live(group):  # the app may have called mark_process_dead
            return
        raise
    except multiproc.UnreadableError as error:
        wrong[name] = str(error)
        return
    try:
        multiproc.fold(values, multiproc.read(descriptor), group)
    except multiproc.UnreadableError as error:
        wrong[name] = str(error)
    finally:
        os.close(descriptor)


def _scan(folder: int) -> Iterator[str]:
    # One name at a time: there may be many thousands.
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name


def _groups(folder: int) -> list[str]:
    return sorted({group for name in _scan(folder) if (group := multiproc.group(name))})


def _names(folder: int, group: str) -> list[str]:
    """Return the names of a group's files.

    Raises:
        ChangingError: another floodmark is just replacing some.
    """
    names = []
    for name in _scan(folder):
        if name == _GUARD:
            raise ChangingError(errno.EAGAIN, "its files are being merged")
        if multiproc.group(name) == group:
            names.append(name)
    return names


def _leased(
    folder: int, names: Iterable[str], wrong: dict[str, str], stack: contextlib.ExitStack
) -> Iterator[_Dead]:
    """Yield the files that no process has open for writing; each lease holds until the stack ends."""
    for name in names:
        try:
            descriptor = multiproc.opened(folder, name)
        except FileNotFoundError:
            continue
        except multiproc.UnreadableError as error:
            wrong[name] = str(error)
            continue
        stack.callback(os.close, descriptor)
        if lease.take(descriptor):
            yield _Dead(name, descriptor)


def _folded(
    dead: Iterable[_Dead], group: str, values: multiproc.Values, wrong: dict[str, str]
) -> list[_Dead]:
    """Add files to ``values``, one at a time, and return them, without those that can't be read."""
    folded = []
    for each in dead:
        try:
            multiproc.fold(values, multiproc.read(each.descriptor), group)
        except multiproc.UnreadableError as error:
            wrong[each.name] = str(error)
        else:
            folded.append(each)
    return folded


def _write(folder: int, dead: list[_Dead], values: multiproc.Values) -> None:
    """Write the merged file, for all who may read one of those that it replaces."""
    stats = [os.fstat(each.descriptor) for each in dead]
    mode = 0
    for each in stats:
        mode |= each.st_mode & 0o666
    descriptor = os.open(_MERGED, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        multiproc.write(descriptor, values)
        os.fchmod(descriptor, mode)
        os.fchown(descriptor, stats[0].st_uid, stats[0].st_gid)
    finally:
        os.close(descriptor)


def _replace(folder: int, dead: list[_Dead], name: str) -> bool:
    """Put the merged file in the place of those it was made of; not if one of them lives again."""
    os.symlink(".floodmark.nothing", _GUARD, dir_fd=folder)
    for each in dead:
        os.rename(each.name, _ASIDE + each.name, src_dir_fd=folder, dst_dir_fd=folder)
    done = all(_still(folder, each) for each in dead)
    if done:
        os.rename(_MERGED, name, src_dir_fd=folder, dst_dir_fd=folder)
    return done


def _still(folder: int, dead: _Dead) -> bool:
    """Tell whether what stands aside is the file that was read, and nobody opened it since."""
    aside = os.stat(_ASIDE + dead.name, dir_fd=folder, follow_symlinks=False)
    return os.path.samestat(aside, os.fstat(dead.descriptor)) and lease.holds(dead.descriptor)


def _drop(folder: int, names: Iterable[str], wrong: dict[str, str], spare: int = 0) -> None:
    """Remove the files of dead processes but the first ``spare``."""
    for name in names:
        with contextlib.ExitStack() as stack, contextlib.suppress(FileNotFoundError):
            for each in _leased(folder, [name], wrong, stack):
                if spare > 0:
                    spare -= 1
                    continue
                os.rename(name, _ASIDE + name, src_dir_fd=folder, dst_dir_fd=folder)
                if _still(folder, each):
                    os.unlink(_ASIDE + name, dir_fd=folder)
                else:
                    _put_back(folder, name)


def _settle(folder: int) -> None:
    """End a merge, one that was killed at any step too."""
    names = [name for name in _scan(folder) if name.startswith(_OURS) or name == _GUARD]
    aside = [name.removeprefix(_ASIDE) for name in names if name.startswith(_ASIDE)]
    if _MERGED in names:
        for name in aside:
            _put_back(folder, name)
        os.unlink(_MERGED, dir_fd=folder)
    if _GUARD in names:
        os.unlink(_GUARD, dir_fd=folder)
    if _MERGED not in names:
        for name in aside:
            os.unlink(_ASIDE + name, dir_fd=folder)


def _put_back(folder: int, name: str) -> None:
    # A new process of an old pid may have begun a file of that name, where its old one stood aside.
    names = itertools.chain(
        [name], (f"{name.removesuffix('.db')}-{number}.db" for number in itertools.count())
    )
    free = next(each for each in names if not _exists(folder, each))
    os.rename(_ASIDE + name, free, src_dir_fd=folder, dst_dir_fd=folder)


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _newest_first(folder: int, names: Iterable[str]) -> list[str]:
    times = {}
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            times[name] = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime_ns
    return sorted(times, key=times.__getitem__, reverse=True)


def _batches(names: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(names), BATCH):
        yield names[start : start + BATCH]


def _listed(wrong: Mapping[str, str]) -> str:
    name, problem = min(wrong.items())
    more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    return f"{name}{more}: {problem}"


class Merging:
    """Merges the folders of all apps again and again, and says once what hinders it.

    Args:
        folders: by app.
        available: where trouble is noted, as the source ``prometheus_multiproc_dir`` of the app.
    """

    def __init__(self, folders: Mapping[str, Folder], available: Available) -> None:
        self._folders = folders
        self._available = available
        self._looked_at: set[str] = set()

    def families(self, app: str) -> list[multiproc.Family]:
        """Return an app's families, as its folder does.

        Raises:
            OSError, UnreadableError: as the folder does; until it was merged for the first time too: of
                thousands of dead processes the page would take megabytes, once more for nothing.
        """
        if app not in self._looked_at:
            raise ChangingError(errno.EAGAIN, "files of dead processes are being merged for the first time")
        return self._folders[app].families()

    def run(self) -> None:
        """Merge for ever, at a slow pace."""
        while True:
            self.once()
            time.sleep(_EVERY)

    def once(self) -> None:
        """Merge what is to be merged in each folder now."""
        for app, folder in self._folders.items():
            try:
                wrong = folder.merge()
            except OSError as error:
                lack = NO_FOLDER if str(error.filename) == str(folder.path) else NO_RIGHT
                problem = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
                self._lacking(lack, problem, app)
            else:
                if wrong:
                    self._lacking(UNREADABLE, _listed(wrong), app)
                else:
                    self._available.good(SOURCE, app)
            self._looked_at.add(app)

    def _lacking(self, lack: Lack, problem: str, app: str) -> None:
        said = Lack(lack.problem.format(problem), lack.costs.format(app), lack.grant)
        self._available.lacking(said, SOURCE, app)
