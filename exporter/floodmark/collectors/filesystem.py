"""File systems: size, free, read-only, and whether they answer at all."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from floodmark import catalogue
from floodmark.sources.procfs import mountinfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from floodmark.facts import Facts
    from floodmark.metric import Sample
    from floodmark.sources.procfs.mountinfo import Mount

# node_exporter's defaults: what the kernel mounts for itself, images that are full by design, and the
# layers of containers, which live on a file system that is watched already.
_EXCLUDED_MOUNTPOINTS = re.compile(
    r"/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)"
)
_EXCLUDED_TYPES = re.compile(
    r"autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|erofs|fusectl|hugetlbfs|iso9660|mqueue"
    r"|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|sysfs|tracefs"
)


def collect(facts: Facts) -> Iterator[Sample]:
    """Yield five samples for each file system; only two for one that failed or doesn't answer."""
    root = str(facts.root).rstrip("/")
    mounts = {root + mount.mountpoint: mount for mount in _mounts(facts, root) if not _excluded(mount)}
    usages = facts.file_systems.usage(mounts)
    for path, mount in mounts.items():
        labels = {
            "device": _printable(mount.device),
            "fstype": mount.fstype,
            "mountpoint": _printable(mount.mountpoint),
        }
        usage = usages.get(path)
        yield catalogue.FS_ERROR(usage is None, **labels)
        yield catalogue.FS_READONLY(mount.readonly, **labels)
        if usage is not None:
            yield catalogue.FS_SIZE(usage.size, **labels)
            yield catalogue.FS_FREE(usage.free, **labels)
            yield catalogue.FS_AVAIL(usage.avail, **labels)


def _mounts(facts: Facts, root: str) -> list[Mount]:
    """Mounts as the host sees them, without those that are hidden under another one's mountpoint."""
    try:
        found = mountinfo.read(facts.proc, "1")
    except (FileNotFoundError, PermissionError):  # /proc mounted with hidepid
        ours = mountinfo.read(facts.proc, "self")
        found = [
            mount._replace(mountpoint=mount.mountpoint.removeprefix(root) or "/")
            for mount in ours
            if f"{mount.mountpoint}/".startswith(f"{root}/")
        ]
    # statvfs can only ask the last one mounted.
    return list({mount.mountpoint: mount for mount in found}.values())


def _excluded(mount: Mount) -> bool:
    return bool(_EXCLUDED_TYPES.fullmatch(mount.fstype) or _EXCLUDED_MOUNTPOINTS.match(mount.mountpoint))


def _printable(name: str) -> str:
    # One label that isn't UTF-8 would cost the whole page.
    return os.fsencode(name).decode(errors="replace")
