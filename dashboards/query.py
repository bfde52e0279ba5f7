"""PromQL from catalogue rows: whatever is written here is filtered by the dashboard's variables.

A panel never types a metric's name or a variable's filter, so neither can be wrong or forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from floodmark.gunicorn.verdict import WANTED

if TYPE_CHECKING:
    from floodmark.metric import Metric

# The series that alerts/thresholds.rules.yml records: the one place where a threshold stands.
ThresholdName = Literal[
    "disk_queue_depth",
    "disk_await_seconds",
    "rss_creep_ratio",
    "rss_creep_bytes",
    "traffic_spike_ratio",
    "traffic_spike_rate",
]

# What alerts compare with those, and how they name it: recorded for each app by alerts/*.rules.yml.
RecordedName = Literal["app:gunicorn_memory_bytes:floor1h", "app:gunicorn_requests:rate5m"]

_TARGET = ('job=~"$job"', 'instance=~"$instance"')
_APP = 'app=~"$app"'

# Deaths: ends of a worker that neither its set-up nor its owner asked for.
UNWANTED = f"!~{'|'.join(sorted(WANTED))}"

# Firing alerts of what is selected. An alert about a vanished target or about a host has no instance or
# no app: "|" lets the empty label through.
FIRING = 'ALERTS{alertstate="firing",job=~"$job|",instance=~"$instance|",app=~"$app|"}'


def select(metric: Metric, suffix: str = "", **matchers: str) -> str:
    """Selector of ``metric``'s series that the variables let through; by app where it has that label.

    A matcher is ``label="value"``, or ``label="=~value"`` with any of PromQL's other operators in front.
    ``suffix`` is _bucket, _sum or _count, for a histogram.

    Raises:
        ValueError: the metric has no such label.
    """
    if unknown := matchers.keys() - set(metric.labels):
        raise ValueError(f"{metric.name} has no label {', '.join(sorted(unknown))}")
    variables = (*_TARGET, _APP) if "app" in metric.labels else _TARGET
    own = (_matcher(label, value) for label, value in matchers.items())
    return f"{metric.name}{suffix}{{{','.join((*variables, *own))}}}"


def rate(metric: Metric, suffix: str = "", offset: str = "", **matchers: str) -> str:
    """Per-second rate of a counter; ``offset`` ("1d") looks that far back."""
    back = f" offset {offset}" if offset else ""
    return f"rate({select(metric, suffix, **matchers)}[$__rate_interval]{back})"


def count(metric: Metric, window: str = "$__rate_interval", **matchers: str) -> str:
    """How many events a counter saw within ``window``, whole.

    increase() stretches what it saw to the edges of the window, always upwards: 2 kills read 2.67 with four
    samples in the window. The floor is the true count as long as that is small, the usual case for a death.
    """
    return f"floor(increase({select(metric, **matchers)}[{window}]) + 0.01)"


def quantile(metric: Metric, which: float) -> str:
    """Quantile of a histogram over all that is selected; nothing where nothing was observed (not NaN)."""
    return f"histogram_quantile({which}, sum by (le) ({rate(metric, '_bucket')})) >= 0"


def threshold(name: ThresholdName) -> str:
    """The alert threshold ``name``: one series without labels."""
    return f"floodmark:threshold:{name}"


def recorded(name: RecordedName) -> str:
    """Selector of a series that the alerts record by app: a panel beside a threshold shows what they see."""
    return f"{name}{{{','.join((*_TARGET, _APP))}}}"


def _matcher(label: str, value: str) -> str:
    operator = value[:2] if value[:2] in {"=~", "!~", "!="} else "="
    return f'{label}{operator}"{value.removeprefix(operator)}"'
