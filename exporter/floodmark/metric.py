"""What a metric and a sample are. Pure: no I/O, no dependency on how they are printed."""

from __future__ import annotations

import dataclasses
import enum
from typing import NamedTuple


class Kind(enum.Enum):
    """A metric's type, by its name in the exposition formats."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    # node_exporter publishes /proc/vmstat and /proc/net/netstat without a type; floodmark keeps that.
    UNTYPED = "unknown"


class Distribution(NamedTuple):
    """A histogram's state.

    ``bounds`` are ascending upper bounds without +Inf; ``counts`` holds one plain (not cumulative) count
    for each bound and one more for +Inf; ``sum`` is the sum of all observations.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float


class Sample(NamedTuple):
    """One value of one series; ``labels`` are values in the order of ``metric.labels``."""

    metric: Metric
    labels: tuple[str, ...]
    value: float | Distribution


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One row of the catalogue. Call it with a value and its labels to make a sample.

    Attributes:
        collector: the collector that makes it.
        name: as Prometheus shows it, counters with their ``_total``.
        help: one line.
        kind: its type.
        unit: base unit of the value: seconds, bytes, ratio, or empty for a plain number.
        labels: label names, in the order samples carry them.
        unshown: why no panel and no alert uses it; empty when one does (the contract test holds this).
    """

    collector: str
    name: str
    help: str
    kind: Kind = Kind.GAUGE
    unit: str = ""
    labels: tuple[str, ...] = ()
    unshown: str = ""

    def __call__(self, value: float | Distribution, **labels: str) -> Sample:
        """Make a sample.

        Raises:
            TypeError: a label is missing, or one is given that the catalogue doesn't name.
        """
        try:
            values = tuple([labels.pop(name) for name in self.labels])
        except KeyError as error:
            raise TypeError(f"{self.name}: label {error} is missing") from None
        if labels:
            raise TypeError(f"{self.name} has no label {', '.join(sorted(labels))}")
        return Sample(self, values, value)
