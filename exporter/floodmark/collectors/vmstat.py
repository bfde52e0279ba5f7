"""Swapping, major faults and the kernel's own count of OOM kills."""

from __future__ import annotations

from typing import TYPE_CHECKING

from floodmark import catalogue
from floodmark.sources.procfs import vmstat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from floodmark.facts import Facts
    from floodmark.metric import Sample

_ROWS = {
    "pswpin": catalogue.SWAP_IN,
    "pswpout": catalogue.SWAP_OUT,
    "pgmajfault": catalogue.MAJOR_FAULTS,
    "oom_kill": catalogue.HOST_OOM_KILLS,
}


def collect(facts: Facts) -> Iterator[Sample]:
    """Yield what this kernel counts: oom_kill came with 4.13, pswpin and pswpout need swap built in."""
    values = vmstat.read(facts.proc)
    for name, row in _ROWS.items():
        if name in values:
            yield row(values[name])
