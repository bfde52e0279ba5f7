"""Samples to a page. Beside sources/multiproc.py the only module that imports prometheus_client."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family

from floodmark.metric import Distribution, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from floodmark.metric import Metric, Sample


class Page(NamedTuple):
    """A rendered page and the Content-Type it must be sent with: Prometheus 3 refuses one without."""

    body: bytes
    content_type: str


class _Families:
    """What prometheus_client's encoders ask of a registry."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        return self._families


_process = ProcessCollector(registry=None)


def render(samples: Iterable[Sample], accept: str = "") -> Page:
    """Render samples, and the process metrics of floodmark itself, as text or OpenMetrics.

    Args:
        samples: from a scrape, in any order; those of one metric are brought together.
        accept: the request's Accept header; OpenMetrics is sent where it is asked for.
    """
    return page((*_families(samples), *_process.collect()), accept)


def page(families: Iterable[Family], accept: str = "") -> Page:
    """Render families as text, or as OpenMetrics where the Accept header asks for it."""
    encode, content_type = choose_encoder(accept)
    return Page(encode(_Families(families)), content_type)


def _families(samples: Iterable[Sample]) -> Iterator[Family]:
    families: dict[Metric, Family] = {}
    for sample in samples:
        metric = sample.metric
        family = families.get(metric)
        if family is None:
            family = families[metric] = Family(_family_name(metric), metric.help, metric.kind.value)
        # An empty label and no label are the same to Prometheus: leave it out.
        labels = {name: value for name, value in zip(metric.labels, sample.labels, strict=True) if value}
        if isinstance(sample.value, Distribution):
            _add_histogram(family, metric.name, labels, sample.value)
        else:
            family.add_sample(metric.name, labels, sample.value)
    yield from families.values()


def _family_name(metric: Metric) -> str:
    # The encoders add _total to a counter family's samples by themselves.
    return metric.name.removesuffix("_total") if metric.kind is Kind.COUNTER else metric.name


def _add_histogram(family: Family, name: str, labels: dict[str, str], value: Distribution) -> None:
    total = 0
    for bound, count in zip((*value.bounds, float("inf")), value.counts, strict=True):
        total += count
        edge = "+Inf" if bound == float("inf") else repr(float(bound))
        family.add_sample(f"{name}_bucket", {**labels, "le": edge}, total)
    family.add_sample(f"{name}_count", labels, total)
    family.add_sample(f"{name}_sum", labels, value.sum)
