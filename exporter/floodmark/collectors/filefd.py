"""Open files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from floodmark import catalogue
from floodmark.sources.procfs import filenr

if TYPE_CHECKING:
    from collections.abc import Iterator

    from floodmark.facts import Facts
    from floodmark.metric import Sample


def collect(facts: Facts) -> Iterator[Sample]:
    """Yield how many are open on the whole host."""
    yield catalogue.FILES_OPEN(filenr.read(facts.proc))
