"""/proc/sys/fs/file-nr, proc(5): open files, 0, the most there can be.

494	0	2466170
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def parse(text: str) -> int:
    """Parse the file's text: open files of the whole host.

    Raises:
        ValueError: not the format above.
    """
    try:
        allocated, _free, _most = map(int, text.split())
    except ValueError:
        raise ValueError(f"file-nr: three numbers expected, got {text!r}") from None
    return allocated


def read(proc: Path) -> int:
    """Read it under a /proc folder."""
    return parse((proc / "sys" / "fs" / "file-nr").read_text())
