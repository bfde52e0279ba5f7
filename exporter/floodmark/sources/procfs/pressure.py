"""/proc/pressure/{cpu,memory,io}, the kernel's Documentation/accounting/psi.rst.

some avg10=0.13 avg60=0.88 avg300=0.93 total=7888952
full avg10=0.06 avg60=0.83 avg300=0.91 total=7567122
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

_MICROSECONDS = 1_000_000


class Pressure(NamedTuple):
    """Seconds since boot in which some, and in which all, of the tasks with work to do had to wait.

    ``full`` is None for the CPU on kernels before 5.13, which don't have that line.
    """

    some: float
    full: float | None


def parse(text: str) -> Pressure:
    """Parse the text of one of the files.

    Raises:
        ValueError: not the format above.
    """
    seconds: dict[str, float] = {}
    for line in text.splitlines():
        kind, _, numbers = line.partition(" ")
        _, total, microseconds = numbers.rpartition("total=")
        if not total or not microseconds.isdigit():
            raise ValueError(f"pressure: some or full, averages and total=NUMBER expected, got {line!r}")
        seconds[kind] = int(microseconds) / _MICROSECONDS
    if "some" not in seconds:
        raise ValueError(f"pressure: a line some expected, got {text!r}")
    return Pressure(seconds["some"], seconds.get("full"))


def read(proc: Path, resource: str) -> Pressure | None:
    """Read one resource's file under a /proc folder; None where the kernel doesn't measure it."""
    try:
        return parse((proc / "pressure" / resource).read_text())
    except FileNotFoundError:  # built without CONFIG_PSI, or started with psi=0
        return None
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:  # psi=0 on kernels that have the files nevertheless
            return None
        raise
