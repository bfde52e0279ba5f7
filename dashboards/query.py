"""PromQL from catalogue rows: whatever is written here is filtered by the dashboard's variables.

A panel never types a metric's name or a variable's filter, so neither can be wrong or forgotten.
"""

from __future__ import annotations

import difflib
import functools
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from floodmark import rules
from floodmark.gunicorn.verdict import WANTED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from floodmark.metric import Metric

_ALERTS = Path(__file__).parents[1] / "alerts"

# What aggregations of an app's and of a host's series keep.
BY_APP = "job, instance, app"
BY_HOST = "job, instance"

_TARGET = ('job=~"$job"', 'instance=~"$instance"')
# By the label that tells the app. Many JVMs have set no such tag: "|" lets the empty label through.
_APPS = {"app": 'app=~"$app"', "application": 'application=~"$app|"'}

# Deaths: ends of a worker that neither its set-up nor its owner asked for.
UNWANTED = f"!~{'|'.join(sorted(WANTED))}"

# Firing alerts of what is selected. An alert about a vanished target or about a host has no instance or
# no app: "|" lets the empty label through. Watchdog fires always, and means nothing here.
FIRING = 'ALERTS{alertname!="Watchdog",alertstate="firing",job=~"$job|",instance=~"$instance|",app=~"$app|"}'


def select(metric: Metric, suffix: str = "", **matchers: str) -> str:
    """Selector of ``metric``'s series that the variables let through; by app where it tells one.

    A matcher is ``label="value"``, or ``label="=~value"`` with any of PromQL's other operators in front.
    ``suffix`` is _bucket, _sum or _count, for a histogram.

    Raises:
        ValueError: the metric has no such label.
    """
    if unknown := matchers.keys() - set(metric.labels):
        raise ValueError(f"{metric.name} has no label {', '.join(sorted(unknown))}")
    apps = [matcher for label, matcher in _APPS.items() if label in metric.labels]
    variables = (*_TARGET, *apps)
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


def news(metric: Metric, **matchers: str) -> str:
    """How many events a counter saw since the step before; nothing where it saw none.

    Each event is in one step alone, however often is scraped: windows of increase() overlap, or leave gaps.
    Those in the very step in which the counter began anew aren't seen.
    """
    counter = select(metric, **matchers)
    return f"{counter} - last_over_time({counter}[15m] offset $__interval) > 0"


def at_most(expr: str, most: float = 9.99) -> str:
    """A share of a threshold, no larger than a number beside others has room for on a phone: 999 %."""
    return f"clamp_max({expr}, {most})"


def quantile(metric: Metric, which: float) -> str:
    """Quantile of a histogram over all that is selected; nothing where nothing was observed (not NaN)."""
    return f"histogram_quantile({which}, sum by (le) ({rate(metric, '_bucket')})) >= 0"


@functools.cache
def _recorded() -> frozenset[str]:
    """Every series that alerts/*.rules.yml record, thresholds among them: the one place where they stand."""
    return frozenset(
        rule["record"]
        for path in _ALERTS.glob("*.rules.yml")
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
        if "record" in rule
    )


def _known(name: str) -> str:
    if name not in _recorded():
        nearest = difflib.get_close_matches(name, _recorded(), 1, cutoff=0)[0]
        raise ValueError(f"no rule records {name}: did you mean {nearest}?")
    return name


def threshold(name: str) -> str:
    """The alert threshold ``name``: one series without labels.

    Raises:
        ValueError: there is none.
    """
    return _known(rules.THRESHOLD + name)


@functools.cache
def _thresholds() -> Mapping[str, float]:
    text = (_ALERTS / "thresholds.rules.yml").read_text(encoding="utf-8")
    return {name: rules.number(value) for name, value in rules.thresholds(text).items()}


def threshold_value(name: str) -> float:
    """The alert threshold ``name`` as it stands in the rules: for colours, which no series can set.

    Raises:
        ValueError: there is none.
    """
    return _thresholds()[threshold(name).removeprefix(rules.THRESHOLD)]


def recorded(name: str) -> str:
    """Selector of a series that the alerts record: a panel beside a threshold shows what they see.

    Its name begins with what it is recorded by: by app where that is "app", by application where it is "jvm",
    else by host or target.

    Raises:
        ValueError: no rule records it.
    """
    label = {"app": "app", "jvm": "application"}.get(name.partition(":")[0], "")
    variables = (*_TARGET, _APPS[label]) if label else _TARGET
    return f"{_known(name)}{{{','.join(variables)}}}"


def _matcher(label: str, value: str) -> str:
    operator = value[:2] if value[:2] in {"=~", "!~", "!="} else "="
    return f'{label}{operator}"{value.removeprefix(operator)}"'
