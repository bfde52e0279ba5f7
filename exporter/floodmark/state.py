"""The state file: what a restart must not lose, in one JSON file, replaced as a whole or not at all.

Whatever goes wrong with it (a full disk, a corrupt file, no permission) costs the state, never the
exporter, and is said once with what to do.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from typing import TYPE_CHECKING

from floodmark.gunicorn import kept as form
from floodmark.sources.available import Lack

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from floodmark.gunicorn.kept import Kept
    from floodmark.sources.available import Available

NAME = "state.json"
_LARGEST = 16 << 20  # bytes; far beyond what is ever written
_EVERY = 2.0  # seconds between looks at what changed
_REFRESH = 60.0  # seconds after which positions and sizes are written too, though nothing happened
_COSTS = "counters start from 0 at the next start, and deaths before it aren't recovered; all else goes on"


class ForeignError(ValueError):
    """The file is another version's."""


def read(folder: Path) -> Kept | None:
    """Read the state in a folder, None where there is none yet.

    Raises:
        OSError: it can't be read.
        ForeignError: another version of floodmark wrote it.
        ValueError: it's corrupt.
    """
    path = folder / NAME
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("it is too large")
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - the file's content is wrong, not a type
    if document.get("version") != form.VERSION:
        raise ForeignError(f"its version is {document.get('version')!r}, this floodmark's is {form.VERSION}")
    try:
        return form.from_json(document)
    except (TypeError, KeyError, AttributeError, IndexError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


class State:
    """The state in a folder of this exporter's own; None keeps nothing.

    Args:
        folder: it is made where it isn't there.
        available: where trouble is noted, as the source ``state``.
        wall: Unix time, injected for tests.
    """

    def __init__(
        self, folder: Path | None, available: Available, wall: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._available = available
        self._wall = wall
        self._written: object = None
        self._written_at = float("-inf")
        self._writing = threading.Lock()
        self._held = -1  # open as long as this process lives
        if folder is not None and not self._take(folder):
            self._folder = None

    def load(self) -> Kept | None:
        """Return what an earlier run kept, None where there is nothing that could be used."""
        if self._folder is None:
            return None
        try:
            found = read(self._folder)
        except OSError as error:
            self._lacks(
                f"can't be read: {error.strerror}", f"let floodmark's user read {self._folder / NAME}"
            )
            self._folder = None  # what can't be read must not be replaced either
        except ValueError as error:
            self._put_aside(self._folder / NAME, error)
        else:
            return found
        return None

    def keep(self, kept: Kept, *, last: bool = False) -> None:
        """Write what is to be kept, if it changed in a way that matters, or enough time went by.

        Args:
            kept: what is to be kept.
            last: write it in any case: there will be no other time.
        """
        with self._writing:
            self._keep(kept, last=last)

    def _keep(self, kept: Kept, *, last: bool) -> None:
        if self._folder is None:
            return
        essence = kept.essence()
        if not last and essence == self._written and self._wall() - self._written_at < _REFRESH:
            return
        try:
            _replace(self._folder / NAME, form.dumps(kept).encode())
        except OSError as error:
            self._lacks(
                f"can't be written: {error.strerror}",
                f"make room for it and let floodmark's user write to {self._folder}, or choose another"
                " --state-dir",
            )
        else:
            self._written, self._written_at = essence, self._wall()
            self._available.good("state")

    def run(self, take: Callable[[], Kept]) -> None:
        """Keep what ``take`` returns, for ever; does nothing where nothing is kept."""
        while self._folder is not None:
            self.keep(take())
            time.sleep(_EVERY)

    def _take(self, folder: Path) -> bool:
        """Make the folder this exporter's own: two that count in one file would undo each other's work."""
        try:
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lacks(
                f"in {folder} is in use by another floodmark", "give each floodmark its own --state-dir"
            )
        except OSError as error:
            grant = f"let floodmark's user read and write {folder}, or choose another --state-dir"
            self._lacks(f"can't be kept in {folder}: {error.strerror}", grant)
        else:
            return True
        return False

    def _put_aside(self, path: Path, error: ValueError) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._wall()))
        aside = path.with_name(f"{NAME}.unusable-{stamp}")
        what = "is another version's" if isinstance(error, ForeignError) else "is corrupt"
        try:
            path.rename(aside)
        except OSError as refusal:
            self._lacks(f"{what} ({error}) and can't be put aside: {refusal.strerror}", f"remove {path}")
            self._folder = None
        else:
            self._lacks(
                f"{what} ({error}); a new one begins",
                f"nothing needs to be done; the old one is kept as {aside}: delete it",
            )

    def _lacks(self, problem: str, grant: str) -> None:
        self._available.lacking(Lack(f"the state file {problem}", _COSTS, grant), "state")


def _replace(path: Path, content: bytes) -> None:
    """Put a file in the place of another: after a crash at any moment one of them is there, whole."""
    new = path.with_name(f"{path.name}.new")
    try:
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
