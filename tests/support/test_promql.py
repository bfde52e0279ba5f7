"""The reader of PromQL that the contract tests stand on."""

from __future__ import annotations

import pytest

from tests.support.promql import Selector, grouping_labels, known, selectors


def test_selectors_are_found_inside_ranges_subqueries_functions_and_both_sides_of_an_operator() -> None:
    expr = (
        'sum(rate(a_total{job=~"$job"}[$__rate_interval] offset 1d)) / b'
        ' or max_over_time((c{q!="2"} > 2)[1h:1m]) or label_replace(-d, "e", "$1", "f", ".*")'
    )
    assert selectors(expr) == [
        Selector("a_total", frozenset({"job"})),
        Selector("b", frozenset()),
        Selector("c", frozenset({"q"})),
        Selector("d", frozenset()),
    ]


def test_a_name_given_as_a_matcher_is_the_selectors_name() -> None:
    assert selectors('{__name__="up", job="x"}') == [Selector("up", frozenset({"job"}))]


def test_grouping_labels_come_from_aggregations_and_from_both_kinds_of_matching() -> None:
    expr = "sum by (a) (x) / on (b) group_left (c) y + ignoring (d) (sum without (e) (z))"
    assert grouping_labels(expr) == {"a", "b", "c", "d", "e"}


def test_what_is_not_promql_is_refused() -> None:
    with pytest.raises(ValueError, match="inside brackets"):
        selectors("rate(a[$typo])")


def test_a_histogram_is_published_under_its_three_names_and_no_other() -> None:
    names = {name for name in known() if name.startswith("gunicorn_request_duration_seconds")}
    assert names == {f"gunicorn_request_duration_seconds_{part}" for part in ("bucket", "sum", "count")}
    assert "le" in known()["gunicorn_request_duration_seconds_bucket"]
