"""Load averages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from floodmark import catalogue
from floodmark.sources.procfs import loadavg

if TYPE_CHECKING:
    from collections.abc import Iterator

    from floodmark.facts import Facts
    from floodmark.metric import Sample


def collect(facts: Facts) -> Iterator[Sample]:
    """Yield the three load averages."""
    load = loadavg.read(facts.proc)
    yield catalogue.LOAD1(load.one)
    yield catalogue.LOAD5(load.five)
    yield catalogue.LOAD15(load.fifteen)
