"""Pressure stall information: time lost waiting for a CPU, memory or a disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from floodmark import catalogue
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


def collect(facts: Facts) -> Iterator[Sample]:
    """Yield both times of each resource, or only that the kernel doesn't measure them: no failure."""
    measured = False
    for resource, waiting, stalled in _ROWS:
        found = pressure.read(facts.proc, resource)
        if found is None:
            continue
        measured = True
        yield waiting(found.some)
        if stalled is not None and found.full is not None:
            yield stalled(found.full)
    yield catalogue.SOURCE_AVAILABLE(measured, source="pressure")
