"""Memory and swap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from floodmark import catalogue
from floodmark.sources.procfs import meminfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from floodmark.facts import Facts
    from floodmark.metric import Sample

_ROWS = {
    "MemTotal": catalogue.MEM_TOTAL,
    "MemFree": catalogue.MEM_FREE,
    "MemAvailable": catalogue.MEM_AVAILABLE,
    "Buffers": catalogue.MEM_BUFFERS,
    "Cached": catalogue.MEM_CACHED,
    "SwapTotal": catalogue.SWAP_TOTAL,
    "SwapFree": catalogue.SWAP_FREE,
    "SwapCached": catalogue.SWAP_CACHED,
    "Dirty": catalogue.MEM_DIRTY,
}


def collect(facts: Facts) -> Iterator[Sample]:
    """Yield what this kernel tells of them: one built without swap has no SwapCached."""
    values = meminfo.read(facts.proc)
    for name, row in _ROWS.items():
        if name in values:
            yield row(values[name])
