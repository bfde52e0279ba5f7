"""Connections the kernel dropped as an application didn't accept them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from floodmark import catalogue
from floodmark.sources.procfs import netstat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from floodmark.facts import Facts
    from floodmark.metric import Sample

_ROWS = {
    "TcpExt_ListenOverflows": catalogue.LISTEN_OVERFLOWS,
    "TcpExt_ListenDrops": catalogue.LISTEN_DROPS,
}


def collect(facts: Facts) -> Iterator[Sample]:
    """Yield both counts of the host's network."""
    values = netstat.read(facts.proc)
    for name, row in _ROWS.items():
        if name in values:
            yield row(values[name])
