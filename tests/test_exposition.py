"""Samples to a page."""

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from floodmark import catalogue
from floodmark.exposition import render
from floodmark.metric import Distribution, Kind

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def lines(page: bytes, start: str) -> list[str]:
    return [line for line in page.decode().splitlines() if line.startswith(start)]


def test_a_counter_is_not_printed_with_total_twice() -> None:
    samples = [catalogue.SIGKILLS(3, app="shop")]
    for accept in ("", OPENMETRICS):
        page = render(samples, accept).body
        assert lines(page, "gunicorn") == ['gunicorn_worker_sigkills_total{app="shop"} 3.0']


def test_samples_of_one_metric_stand_together_whatever_their_order() -> None:
    page = render(
        [
            catalogue.SIGKILLS(1, app="a"),
            catalogue.BOOTS(2, app="a"),
            catalogue.SIGKILLS(3, app="b"),
        ]
    ).body
    assert [line.split("{")[0] for line in lines(page, "gunicorn")] == [
        "gunicorn_worker_sigkills_total",
        "gunicorn_worker_sigkills_total",
        "gunicorn_worker_boots_total",
    ]


def test_a_histogram_prints_cumulative_buckets_count_and_sum() -> None:
    page = render([catalogue.REQUEST_DURATION(Distribution((0.1, 1.0), (1, 2, 3), 4.5), app="shop")]).body
    assert lines(page, "gunicorn") == [
        'gunicorn_request_duration_seconds_bucket{app="shop",le="0.1"} 1.0',
        'gunicorn_request_duration_seconds_bucket{app="shop",le="1.0"} 3.0',
        'gunicorn_request_duration_seconds_bucket{app="shop",le="+Inf"} 6.0',
        'gunicorn_request_duration_seconds_count{app="shop"} 6.0',
        'gunicorn_request_duration_seconds_sum{app="shop"} 4.5',
    ]


def test_an_empty_label_is_left_out() -> None:
    page = render([catalogue.REQUESTS(1, app="shop", method="", status="200")]).body
    assert lines(page, "gunicorn") == ['gunicorn_requests_total{app="shop",status="200"} 1.0']


def test_openmetrics_is_sent_only_where_it_is_asked_for() -> None:
    assert render([], "").content_type.startswith("text/plain; version=0.0.4")
    asked = render([], OPENMETRICS)
    assert asked.content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert asked.body.endswith(b"# EOF\n")


def test_a_page_with_every_metric_of_the_catalogue_is_valid_openmetrics() -> None:
    samples = [
        metric(
            Distribution((1.0,), (1, 2), 3.0) if metric.kind is Kind.HISTOGRAM else 1.0,
            **dict.fromkeys(metric.labels, "x"),
        )
        for metric in catalogue.ALL
    ]
    page = render(samples, OPENMETRICS).body.decode()
    families = text_string_to_metric_families(page)
    names = {family.name for family in families}
    assert {metric.name.removesuffix("_total") for metric in catalogue.ALL} <= names
