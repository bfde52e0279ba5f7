"""Which metrics and labels a PromQL expression names: read from its syntax tree, never by pattern."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import promql_parser

from dashboards import outside
from floodmark import catalogue
from floodmark.metric import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from floodmark.metric import Metric

# Grafana fills these in before Prometheus sees the query; inside a string ("$job") the parser accepts them.
_DURATION_VARIABLE = re.compile(r"\$(?:__rate_interval|__interval|__range)\b")

# Prometheus adds these to every series it scrapes: no metric's row names them.
TARGET_LABELS = frozenset({"job", "instance"})


class Selector(NamedTuple):
    """One vector selector of an expression: ``name`` is empty where only labels select."""

    name: str
    labels: frozenset[str]


def selectors(expr: str) -> list[Selector]:
    """Every vector selector of ``expr``, in the order they are written; Grafana's variables are allowed.

    Raises:
        ValueError: it doesn't parse.
    """
    found: list[Selector] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            labels = {matcher.name: matcher.value for matcher in node.matchers.matchers}
            # A variable may ask for several at once: {__name__=~"this|that"}.
            names = (node.name or labels.get("__name__", "")).split("|")
            found.extend(Selector(name, frozenset(labels) - {"__name__"}) for name in names)

    _walk(expr, visit)
    return found


def grouping_labels(expr: str) -> set[str]:
    """Every label that ``expr`` names outside a selector: by, without, on, ignoring, group_left, group_right.

    Raises:
        ValueError: it doesn't parse.
    """
    found: set[str] = set()

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            found.update(node.modifier.labels)
        if isinstance(node, promql_parser.BinaryExpr) and node.modifier:
            if node.modifier.matching:
                found.update(node.modifier.matching.labels)
            found.update(node.modifier.group_labels or ())

    _walk(expr, visit)
    return found


# Prometheus' own. ALERTS has what the alert's expression and its rule have.
PROMETHEUS = {
    "up": TARGET_LABELS,
    "ALERTS": TARGET_LABELS
    | {"alertname", "alertstate", "severity", "kind"}
    | {"app", "cause", "device", "server", "database", "mountpoint"},
}


def known() -> dict[str, frozenset[str]]:
    """Every series that floodmark, others or Prometheus itself publish, with the labels it has."""
    return series_of(catalogue.ALL) | series_of(outside.ALL) | PROMETHEUS


def series_of(rows: Iterable[Metric]) -> dict[str, frozenset[str]]:
    """The series names that rows publish, with the labels each has; a histogram has three names."""
    series: dict[str, frozenset[str]] = {}
    for row in rows:
        labels = frozenset(row.labels) | TARGET_LABELS
        if row.kind is Kind.HISTOGRAM:
            series[f"{row.name}_bucket"] = labels | {"le"}
            series[f"{row.name}_sum"] = series[f"{row.name}_count"] = labels
        else:
            series[row.name] = labels
    return series


def _walk(expr: str, visit: Callable[[promql_parser.Expr], None]) -> None:
    promql_parser.walk(promql_parser.parse(_DURATION_VARIABLE.sub("5m", expr)), visit)
