"""A memory cgroup for the demo's app: its leak ends in the kernel's real OOM killer and harms nobody else.

Follows cgroup-v1/memory.rst and cgroup-v2.rst of the kernel's documentation, and proc_pid_mountinfo(5):

    35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
    29 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - cgroup2 cgroup2 rw

and cgroups(7) on /proc/self/cgroup:

    4:memory:/user.slice
    0::/user.slice/user-1000.slice/user@1000.service/app.slice/term.scope
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Moves itself into the cgroup, then becomes the command: children can't be born outside.
_ENTER = ("sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"')


class NoCgroupError(Exception):
    """No memory cgroup may be made here; the text says why."""


@dataclass(frozen=True, slots=True)
class MemoryCgroup:
    """A cgroup of our own with a memory limit.

    Attributes:
        path: its folder.
        counter: the file in it that has the `oom_kill` line.
    """

    path: Path
    counter: str

    def entering(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` in here."""
        return [*_ENTER, str(self.path), *command]

    def oom_kills(self) -> int:
        """How many processes in here the kernel has killed for memory."""
        lines = (self.path / self.counter).read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))

    def remove(self) -> None:
        """Kill what is left in here and remove the folder; processes take a moment to be gone.

        Raises:
            OSError: it is still in use after 5 seconds.
        """
        deadline = time.monotonic() + 5
        while self.path.exists():
            for pid in (self.path / "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            try:
                self.path.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def make(name: str, limit: int) -> MemoryCgroup:
    """Make a cgroup of that name limited to `limit` bytes, swap included.

    Raises:
        NoCgroupError: this user may not, or the kernel has no memory cgroups.
    """
    why = "this kernel shows no memory cgroups"
    own = Path("/proc/self/cgroup").read_text()
    for parent, version in places(Path("/proc/self/mountinfo").read_text(), own):
        try:
            # Where a version 2 cgroup doesn't hand memory on to its children, they can't have a limit.
            if version == 2 and "memory" not in (parent / "cgroup.subtree_control").read_text().split():  # noqa: PLR2004  # the version's number is its name
                continue
            return _make(parent / name, version, limit)
        except OSError as error:
            why = f"{error.strerror or error}: {parent}"
    raise NoCgroupError(why)


def places(mountinfo: str, own: str) -> Iterator[tuple[Path, int]]:
    """Folders that may take a memory cgroup, nearest first, each with its cgroup version.

    Args:
        mountinfo: /proc/self/mountinfo.
        own: /proc/self/cgroup.
    """
    memberships = {}
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        memberships[controllers] = path
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        root, mount = left.split()[3:5]
        kind, _, options = right.split()
        if kind == "cgroup" and "memory" in options.split(","):
            version, path = 1, next((p for c, p in memberships.items() if "memory" in c.split(",")), "/")
        elif kind == "cgroup2":
            version, path = 2, memberships.get("", "/")
        else:
            continue
        # Seen from a cgroup namespace our own path can lie outside of the mount: then its top has to do.
        inside = os.path.relpath(path, root)
        here = Path(mount) if inside.startswith("..") else Path(mount) / inside
        for folder in (here, *here.parents):
            if not folder.is_relative_to(mount):
                break
            yield folder, version


def _make(path: Path, version: int, limit: int) -> MemoryCgroup:
    """Make it, limit it, and see that a process may enter.

    Raises:
        OSError: one of these can't be done; nothing is left behind.
    """
    path.mkdir()
    try:
        if version == 1:
            made = MemoryCgroup(path, "memory.oom_control")
            limits = {"memory.limit_in_bytes": limit, "memory.memsw.limit_in_bytes": limit}
        else:
            made = MemoryCgroup(path, "memory.events")
            limits = {"memory.max": limit, "memory.swap.max": 0}
        for file, value in limits.items():
            # A kernel without swap accounting hasn't the second file; the first must be there.
            if file in ("memory.limit_in_bytes", "memory.max") or (path / file).exists():
                with (path / file).open("r+") as knob:
                    knob.write(str(value))
        made.oom_kills()
        subprocess.run(made.entering(["true"]), check=True, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError, StopIteration) as error:
        path.rmdir()
        raise error if isinstance(error, OSError) else PermissionError(1, "may not enter") from error
    return made
