r"""/proc/PID/mountinfo, proc(5).

27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,discard
41 27 0:45 / /srv/my\040share ro,nosuid - nfs4 10.0.0.7:/export rw,vers=4.2
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

_OCTAL = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    r"""One mount.

    Attributes:
        device: what is mounted, with the kernel's own escapes (``\040`` for a space): node_exporter's label.
        mountpoint: where, as the process sees it, without escapes. Bytes that aren't UTF-8 are surrogates,
            as os.fsdecode makes them.
        fstype: file system type.
        readonly: the mount or the whole file system is read-only.
    """

    device: str
    mountpoint: str
    fstype: str
    readonly: bool


def parse(text: str) -> list[Mount]:
    """Parse the file's text, in its order: of two mounts on one mountpoint, the later hides the earlier.

    Raises:
        ValueError: not the format above.
    """
    mounts: list[Mount] = []
    for line in text.split("\n"):
        if not line:
            continue
        try:
            # A name never holds a plain space, but may be empty: hence no bare split().
            mount, _, super_block = line.partition(" - ")
            _id, _parent, _numbers, _root, mountpoint, options, *_tags = mount.split(" ")
            fstype, device, super_options = super_block.split(" ", 2)
        except ValueError:
            raise ValueError(f"mountinfo: 6 fields, a hyphen, 3 fields expected, got {line!r}") from None
        readonly = "ro" in options.split(",") or "ro" in super_options.split(",")
        mounts.append(Mount(device, _unescaped(mountpoint), fstype, readonly))
    return mounts


def read(proc: Path, pid: str) -> list[Mount]:
    """Read that of one process (or ``self``) under a /proc folder."""
    # Not read_text: it would take a carriage return in a name for the end of a line.
    return parse((proc / pid / "mountinfo").read_bytes().decode(errors="surrogateescape"))


def _unescaped(name: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), name) if "\\" in name else name
