"""Facts to samples, one file each. The file's name is the collector's name, in flags and labels too."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from floodmark.collectors import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from floodmark.facts import Facts
    from floodmark.metric import Sample


class Collector(NamedTuple):
    """A name and what makes the samples. ``collect`` may raise: its own samples are lost, no others."""

    name: str
    collect: Callable[[Facts], Iterable[Sample]]


COLLECTORS: tuple[Collector, ...] = (Collector("load", load.collect),)
