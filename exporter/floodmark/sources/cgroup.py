"""Memory cgroups, v1 and v2: cgroup(7), Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst.

/proc/PID/cgroup has a line for each hierarchy; the memory controller's is that of v1 where there is one:

    4:memory:/pod/app
    0::/system.slice/shop.service

    v1: memory.limit_in_bytes, memory.usage_in_bytes, memory.stat (total_inactive_file 4096),
        memory.oom_control (oom_kill 2)
    v2: memory.max (bytes or "max"), memory.current, memory.stat (inactive_file 4096),
        memory.events (oom_kill 2)

The kernel counts an OOM kill in the victim's own cgroup only.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclasses.dataclass(frozen=True, slots=True)
class Files:
    """Where one version keeps what; ``cache`` is the key of memory.stat that the kernel can take back."""

    limit: str
    usage: str
    cache: str
    oom: str


_V1 = Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "memory.oom_control")
_V2 = Files("memory.max", "memory.current", "inactive_file", "memory.events")


@dataclasses.dataclass(frozen=True, slots=True)
class MemoryCgroup:
    """The memory cgroup of a process.

    Attributes:
        path: its folder.
        mount: the folder of the hierarchy's root, the last ancestor there is.
        files: its version's files.
    """

    path: Path
    mount: Path
    files: Files

    def oom_kills(self) -> int:
        """Return how many processes of this cgroup itself the kernel killed for memory.

        Raises:
            OSError: the cgroup is gone.
            ValueError: a kernel that doesn't count them (before 4.13).
        """
        return _value(self.path / self.files.oom, "oom_kill")

    def limit_and_headroom(self) -> tuple[int, int] | None:
        """Return the smallest limit here or above and the least bytes left anywhere; None if unlimited."""
        levels = [(limit, limit - used) for limit, used in self._levels()]
        if not levels:
            return None
        return min(limit for limit, _ in levels), min(left for _, left in levels)

    def _levels(self) -> Iterator[tuple[int, int]]:
        # In a container the mount's own folder is a cgroup with limits too.
        for folder in (self.path, *self.path.parents):
            if not folder.is_relative_to(self.mount):
                break
            try:
                limit = (folder / self.files.limit).read_text().strip()
                # v1 writes "no limit" as the largest page-aligned number.
                if limit != "max" and int(limit) < 1 << 60:
                    usage = int((folder / self.files.usage).read_text())
                    yield int(limit), usage - _value(folder / "memory.stat", self.files.cache)
            except FileNotFoundError:
                continue


def parse(text: str) -> tuple[str, Files] | None:
    """Return the memory cgroup's path in its hierarchy and its version's files; None without one."""
    unified = None
    for line in text.splitlines():
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return path, _V1
        if number == "0" and not controllers:
            unified = path, _V2
    return unified


def find(proc: Path, root: Path, pid: int) -> MemoryCgroup | None:
    """Return the memory cgroup of a process, None where it has none or it can't be seen under ``root``."""
    found = parse((proc / str(pid) / "cgroup").read_text())
    if found is None:
        return None
    path, files = found
    mount = root / ("sys/fs/cgroup/memory" if files is _V1 else "sys/fs/cgroup")
    folder = mount / path.lstrip("/")
    if (folder / "cgroup.procs").exists():
        return MemoryCgroup(folder, mount, files)
    # Inside a container the path may be the host's, and the mount the container's own cgroup.
    return MemoryCgroup(mount, mount, files) if _holds(mount, pid) else None


def _holds(folder: Path, pid: int) -> bool:
    try:
        return str(pid) in (folder / "cgroup.procs").read_text().split()
    except OSError:
        return False


def _value(path: Path, key: str) -> int:
    for line in path.read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    raise ValueError(f"{path}: no line {key}")
