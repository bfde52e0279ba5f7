"""Where the agent in an app's gunicorn keeps what it counts: ``floodmark-UID/APP`` in the app's own /dev/shm.

    /dev/shm/floodmark-33/shop.wsgi_application/ledger
    /dev/shm/floodmark-33/shop.wsgi_application/812-99134.slab

/dev/shm is anyone's to write to: a folder counts only where its owner is the master's own user, or root.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from floodmark.agent import ledger
from floodmark.agent.slab import Cell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from floodmark.gunicorn.find import Master

_ROOT = 0


def find(root: Path, proc: Path, master: Master) -> str | None:
    """Return an app's folder, None where its gunicorn has no agent that can be seen.

    It takes a reading of each live worker's slab: look once, not each second.

    Args:
        root: the host's root folder.
        proc: the host's /proc.
        master: whose folder.

    Raises:
        PermissionError: it is there, and closed; ``filename`` is what is.
        OSError: the master has ended.
    """
    pid = master.identity.pid
    own: tuple[float, float] = (master.namespace_pid, master.identity.start_ticks)
    trusted = {os.stat(f"{proc}/{pid}").st_uid, _ROOT}  # noqa: PTH116 - a path as text, as all of them here
    called = (master.settings.text("proc_name"), master.settings.target, master.app)
    names = {ledger.folder_name(name) for name in called if name}
    base = _base(root, proc, master)
    named: str | None = None
    for folder in _folders(base, trusted, names):
        masters = _masters(folder)
        if own in masters:
            return folder
        # Between a worker's end and the next one's start nothing in there names a master.
        if not masters and os.path.basename(folder) in names:  # noqa: PTH119 - as above
            named = named or folder
    return named


def _base(root: Path, proc: Path, master: Master) -> str:
    """Return the folder in which an app's user has a folder, as seen from here."""
    path = master.agent_dir or ledger.USUAL
    start = "root" if path.startswith("/") else "cwd"
    inside = f"{proc}/{master.identity.pid}/{start}/{path.lstrip('/')}"
    host = os.path.join(root, path.lstrip("/"))  # noqa: PTH118 - as above
    try:
        # Where both are one, the host's: that path outlives the master.
        return host if os.path.samefile(inside, host) else inside  # noqa: PTH121 - as above
    except PermissionError:
        return host
    except FileNotFoundError:
        return inside


def _folders(base: str, trusted: set[int], names: set[str]) -> Iterator[str]:
    """Yield the folders of apps, those with these names first."""
    for user in sorted(trusted, reverse=True):
        own = f"{base}/floodmark-{user}"
        if _is_folder_of(own, user):
            for name in sorted(os.listdir(own), key=lambda name: (name not in names, name)):  # noqa: PTH208 - as above
                if _is_folder_of(f"{own}/{name}", user):
                    yield f"{own}/{name}"


def _is_folder_of(path: str, user: int) -> bool:
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == user


def _masters(folder: str) -> set[tuple[float, float]]:
    """Return the masters of the live workers that have a slab in a folder."""
    headers = [seen.header() for _, seen in ledger.slabs(folder) if seen.alive]
    return {(each[Cell.MASTER_PID], each[Cell.MASTER_TICKS]) for each in headers}
