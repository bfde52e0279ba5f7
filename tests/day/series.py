"""The series of one host over the day, and how promtool is told them."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

# Seconds from sample to sample: as long as leaves two of them in the shortest window there is, a minute.
STEP = 30
# Hours before midnight, when the host is born: an evening, as RssCreep and the averages of traffic look back
# on some hours. It must be quiet as well.
RUN_UP = 8
LENGTH = (RUN_UP + 24) * 3600 // STEP
HOURS = tuple(i * STEP / 3600 - RUN_UP for i in range(LENGTH))

# In a counter's growth: it starts from 0 again.
RESET = math.nan

# Gauges whose value is a time: seconds of the whole run.
TIMES = frozenset(
    {"gunicorn_worker_start_time_seconds", "node_boot_time_seconds", "process_start_time_seconds"}
)

Values = list[float | None]  # None: no sample
Growth = list[float | None]  # a second, since the sample before


class Key(NamedTuple):
    """A series of a host, which is added as `instance`."""

    name: str
    labels: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        """As PromQL writes it, up to the closing brace."""
        return self.name + "{" + ",".join(f'{name}="{value}"' for name, value in self.labels)


def index(hour: float) -> int:
    """Return the first sample at or after an hour of the day (negative: of the evening before)."""
    return min(max(math.ceil(round((hour + RUN_UP) * 3600 / STEP, 6)), 0), LENGTH)


def during(begin: float, end: float) -> range:
    """Return the samples from an hour on, up to another."""
    return range(index(begin), index(end))


def between(points: Sequence[tuple[float, float]]) -> list[float]:
    """Return the line through points of (hour, value), for each sample."""
    line = []
    for hour in HOURS:
        for (left, low), (right, high) in pairwise(points):
            if left <= hour <= right:
                line.append(low + (high - low) * (hour - left) / (right - left))
                break
        else:
            raise ValueError(f"no line at {hour}")
    return line


def noise(seed: str, spread: float) -> list[float]:
    """Return factors around 1 that change every 10 minutes: the same ones for the same seed."""
    generator = random.Random(seed)  # noqa: S311  # nothing secret
    steps = 600 // STEP
    factors = [1 + generator.uniform(-spread, spread) for _ in range(LENGTH // steps + 1)]
    return [factors[i // steps] for i in range(LENGTH)]


class Host:
    """All series of one host. Lists are never changed in place: hosts that differ little share the rest."""

    def __init__(self) -> None:
        self.gauges: dict[Key, Values] = {}
        self.counters: dict[Key, Growth] = {}

    def copy(self) -> Host:
        """Return a host of the same series."""
        other = Host()
        other.gauges, other.counters = dict(self.gauges), dict(self.counters)
        return other

    def gauge(self, name: str, values: float | Iterable[float | None], /, **labels: str) -> None:
        """Add a gauge."""
        self.gauges[_key(name, labels)] = _spread(values)

    def counter(self, name: str, growth: float | Iterable[float | None], /, **labels: str) -> None:
        """Add a counter by how much it grows each second; it starts at 0, as floodmark's do."""
        self.counters[_key(name, labels)] = _spread(growth)

    def histogram(
        self, name: str, rate: Sequence[float], below: dict[float, float], mean: float, **labels: str
    ) -> None:
        """Add a histogram: how many a second, and which part of them lies below each bound."""
        for bound, part in {**below, math.inf: 1.0}.items():
            edge = "+Inf" if bound == math.inf else repr(bound)
            self.counter(f"{name}_bucket", [value * part for value in rate], le=edge, **labels)
        self.counter(f"{name}_count", rate, **labels)
        self.counter(f"{name}_sum", [value * mean for value in rate], **labels)

    def change(
        self,
        name: str,
        how: float | Callable[[float, float], float] | None,
        begin: float = -RUN_UP,
        end: float = 24,
        **labels: str,
    ) -> None:
        """Have all series of a name (and labels) be something else from one hour to another.

        `how` is the new value (of a counter: its growth a second; None: no sample), or makes it of the hour
        and what it was.
        """
        found = 0
        for series in (self.gauges, self.counters):
            for key in [
                key for key in series if key.name == name and labels.items() <= dict(key.labels).items()
            ]:
                values = list(series[key])
                for i in during(begin, end):
                    old = values[i]
                    values[i] = (how(HOURS[i], old or 0.0)) if callable(how) else how
                series[key] = values
                found += 1
        if not found:
            raise LookupError(f"a healthy host has no {name} {labels}")

    def happens(self, name: str, at: float, times: float = 1, **labels: str) -> None:
        """Have a counter jump at an hour."""
        self.change(name, lambda _, rate: rate + times / STEP, at, at + STEP / 3600, **labels)

    def vanish(self, begin: float, end: float = 24, *, job: str = "floodmark") -> None:
        """Have scrapes of a job fail: `up` is 0 and nothing else of it is there."""
        for name in {key.name for key in (*self.gauges, *self.counters) if ("job", job) in key.labels}:
            self.change(name, 0.0 if name == "up" else None, begin, end, job=job)

    def told(self, names: Collection[str], begin: float, end: float) -> dict[Key, str]:
        """Return the series of these names from one hour to another, in promtool's notation."""
        # promtool's clock stands at 0 when they begin.
        zero = -index(begin) * STEP
        return {key: _notation(values) for key, values in self.samples(begin, end, zero) if key.name in names}

    def samples(self, begin: float, end: float, zero: float) -> Iterator[tuple[Key, Values]]:
        """Yield all series from one hour to another; the day's first sample is at the time `zero`."""
        part = slice(index(begin), index(end))
        for key, values in self.gauges.items():
            yield (
                key,
                [value and value + zero for value in values[part]] if key.name in TIMES else values[part],
            )
        for key, growth in self.counters.items():
            yield key, _grown(growth[part])


def _key(name: str, labels: dict[str, str]) -> Key:
    return Key(name, tuple(sorted({"job": "floodmark", **labels}.items())))


def _spread(values: float | Iterable[float | None]) -> list[float | None]:
    if isinstance(values, int | float):
        return [values] * LENGTH
    listed = list(values)
    if len(listed) != LENGTH:
        raise ValueError(f"{len(listed)} values for {LENGTH} samples")
    return listed


def _grown(growth: Growth) -> Values:
    """Return the counter's values. Each step is rounded, not the sum, so that even growth stays even."""
    total = 0
    values: Values = []
    for rate in growth:
        if rate is None:
            values.append(None)
        elif math.isnan(rate):
            total = 0
            values.append(0)
        else:
            total += round(rate * STEP * 1000)
            values.append(total / 1000)
    return values


def _notation(values: Values) -> str:
    """Write values as runs of equal steps: `a+bxn`, `_xn` for no sample."""
    runs = []
    here, previous = 0, None
    while here < len(values):
        first = values[here]
        last = here
        if first is None:
            while last + 1 < len(values) and values[last + 1] is None:
                last += 1
            # Prometheus marks the end of a series that a scrape no longer has.
            missing = last - here + 1
            if previous is not None:
                runs.append("stale")
                missing -= 1
            if missing:
                runs.append(f"_x{missing}")
        else:
            following = values[here + 1] if here + 1 < len(values) else None
            step = 0.0 if following is None else round(following - first, 6)
            while (
                last + 1 < len(values)
                and (after := values[last + 1]) is not None
                and round(after - (values[last] or 0.0), 6) == step
            ):
                last += 1
            runs.append(f"{first:.15g}" if last == here else f"{first:.15g}{step:+.15g}x{last - here}")
        previous = first
        here = last + 1
    return " ".join(runs)
