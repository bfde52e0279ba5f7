"""Pages that exporters served once, served again with counters that go on counting."""

from __future__ import annotations

import re
import time
from typing import NamedTuple

from tests.support.replay import PageServer

# In each minute a counter grows by what it had when the page was served first.
_AS_MUCH_AGAIN = 60.0
# Gauges of which a dashboard asks when they change, as a collection is seen by what it leaves.
_CHANGING = {"jvm_gc_live_data_size_bytes"}

_TYPE = re.compile(r"^# TYPE (\S+) (\S+)$", re.MULTILINE)
# The older of Micrometer's two clients ends the labels with a comma.
_SAMPLE = re.compile(r"^(\w+)(?:{(.*?),?})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="(?:[^"\\]|\\.)*"')
_PART = re.compile(r"_(?:bucket|sum|count)$")


class Sample(NamedTuple):
    """A sample of a page.

    Attributes:
        name: of its series.
        labels: as they stand between the braces.
        value: of the sample.
        kind: of the metric it is of: counter, gauge, histogram, summary, untyped.
    """

    name: str
    labels: str
    value: float
    kind: str

    @property
    def series(self) -> str:
        """Its series, as PromQL writes it."""
        return f"{self.name}{{{self.labels}}}"

    @property
    def counts(self) -> bool:
        """Whether it only grows."""
        return self.kind in {"counter", "histogram", "summary"}

    def label_names(self) -> set[str]:
        """Return the names of its labels."""
        return set(_LABEL.findall(self.labels))


def samples(text: str) -> list[Sample]:
    """Return the samples of a page in the text format.

    Raises:
        KeyError: one has no type.
    """
    kinds = dict(_TYPE.findall(text))
    return [_sample(found, kinds) for found in _SAMPLE.finditer(text)]


def _sample(found: re.Match[str], kinds: dict[str, str]) -> Sample:
    name = found[1]
    kind = kinds[name if name in kinds else _PART.sub("", name)]
    return Sample(name, found[2] or "", float(found[3]), kind)


class Served(PageServer):
    """Serves a page as it was, but for the values of what counts."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._kinds = dict(_TYPE.findall(text))
        self._began = time.monotonic()
        super().__init__()

    def page(self) -> bytes:
        """The page of now."""
        grown = 1 + (time.monotonic() - self._began) / _AS_MUCH_AGAIN

        def now(found: re.Match[str]) -> str:
            sample = _sample(found, self._kinds)
            changes = sample.counts or sample.name in _CHANGING
            return f"{found[0].rpartition(' ')[0]} {sample.value * grown!r}" if changes else found[0]

        return _SAMPLE.sub(now, self._text).encode()
