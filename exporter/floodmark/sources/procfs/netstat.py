"""/proc/PID/net/netstat: lines of names, each followed by its line of values.

TcpExt: SyncookiesSent SyncookiesRecv (more) ListenOverflows ListenDrops (more)
TcpExt: 0 0 (more) 0 0 (more)
IpExt: InNoRoutes InTruncatedPkts (more)
IpExt: 0 0 (more)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def parse(text: str) -> dict[str, int]:
    """Parse the file's text: counts since boot by protocol and name, as ``TcpExt_ListenDrops``.

    Raises:
        ValueError: not the format above.
    """
    lines = text.splitlines()
    values: dict[str, int] = {}
    try:
        for names, numbers in zip(lines[::2], lines[1::2], strict=True):
            protocol, _, keys = names.partition(":")
            counts = numbers.removeprefix(f"{protocol}:")
            for key, count in zip(keys.split(), counts.split(), strict=True):
                values[f"{protocol}_{key}"] = int(count)
    except ValueError:
        got = [line[:60] for line in lines]
        raise ValueError(f"netstat: pairs of lines, names and numbers, expected, got {got}") from None
    if not values:
        raise ValueError("netstat: pairs of lines, names and numbers, expected, the file is empty")
    return values


def read(proc: Path) -> dict[str, int]:
    """Read that of the host's network, or of our own where the host's process 1 is hidden from us."""
    try:
        # /proc/net is that of the reader: in a container without the host's network not the host's.
        text = (proc / "1" / "net" / "netstat").read_text()
    except (FileNotFoundError, PermissionError):
        text = (proc / "net" / "netstat").read_text()
    return parse(text)
