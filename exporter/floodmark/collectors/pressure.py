"""Pressure stall information: time lost waiting for a CPU, memory or a disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from floodmark import catalogue
from floodmark.sources.available import Lack
from floodmark.sources.procfs import pressure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from floodmark.facts import Facts
    from floodmark.metric import Metric, Sample

# That of the CPU has a line full as well, which means nothing for a whole host and is always 0.
_ROWS: tuple[tuple[str, Metric, Metric | None], ...] = (
    ("cpu", catalogue.CPU_WAITING, None),
    ("memory", catalogue.MEMORY_WAITING, catalogue.MEMORY_STALLED),
    ("io", catalogue.IO_WAITING, catalogue.IO_STALLED),
)

NO_PRESSURE = Lack(
    "this kernel doesn't measure pressure: there is no /proc/pressure, or it is switched off",
    "how long processes wait for a CPU, memory or a disk can't be told",
    "psi=1 on the kernel's command line; a kernel before 4.20, or built without CONFIG_PSI, can't",
)


def collect(facts: Facts) -> Iterator[Sample]:
    """Yield both times of each resource, or nothing where the kernel doesn't measure them: no failure."""
    measured = False
    for resource, waiting, stalled in _ROWS:
        found = pressure.read(facts.proc, resource)
        if found is None:
            continue
        measured = True
        yield waiting(found.some)
        if stalled is not None and found.full is not None:
            yield stalled(found.full)
    if measured:
        facts.watch.available.good("pressure")
    else:
        facts.watch.available.lacking(NO_PRESSURE, "pressure")
