"""Requests by app: by StatsD prefix, by the socket they came in on, or by being the only app."""

import pytest

from floodmark.agent.rows import BOUNDS
from floodmark.requests import ORIGINS, Requests

OK = b"gunicorn.request.status.200:1|c|@1.0"
APPS = {"shop": "shop", "blog": "team.blog."}


def counted(requests: Requests, prefixes: dict[str, str]) -> dict[str, dict[str, float]]:
    return {app: each.by_status for app, each in requests.by_app(prefixes).items()}


def test_a_lone_app_needs_no_prefix() -> None:
    requests = Requests()
    requests.take("", OK)
    assert counted(requests, {"shop": ""}) == {"shop": {"200": 1}}


def test_of_two_apps_without_prefix_the_app_is_unknown_not_guessed() -> None:
    requests = Requests()
    requests.take("", OK)
    assert counted(requests, {"shop": "", "blog": ""}) == {"unknown": {"200": 1}}


def test_a_packet_before_its_gunicorn_is_found_goes_to_it_afterwards() -> None:
    requests = Requests()
    requests.take("", OK)
    assert counted(requests, {}) == {"unknown": {"200": 1}}
    assert counted(requests, {"shop": ""}) == {"shop": {"200": 1}}


def test_counts_stay_with_their_app_when_a_second_app_comes() -> None:
    requests = Requests()
    requests.take("", OK)
    counted(requests, {"shop": ""})
    assert counted(requests, {"shop": "", "blog": ""}) == {"shop": {"200": 1}}


@pytest.mark.parametrize(("prefix", "app"), [(b"shop.", "shop"), (b"team.blog.", "blog"), (b"far.", "far")])
def test_a_prefix_is_the_app_that_was_started_with_it_or_else_its_own_name(prefix: bytes, app: str) -> None:
    requests = Requests()
    requests.take("", prefix + OK)
    assert counted(requests, APPS) == {app: {"200": 1}}


def test_the_socket_a_packet_came_in_on_tells_its_app() -> None:
    requests = Requests()
    requests.take("blog", OK)
    requests.take("blog", b"any." + OK)
    assert counted(requests, APPS) == {"blog": {"200": 2}}


def test_durations_fall_into_their_buckets_bounds_included() -> None:
    requests = Requests()
    for milliseconds in (5, 6, 99_000):
        requests.take("shop", b"gunicorn.request.duration:%d|ms" % milliseconds)
    durations = requests.by_app({})["shop"].durations
    assert durations.bounds == BOUNDS
    assert (durations.counts[0], durations.counts[1], durations.counts[-1]) == (1, 1, 1)
    assert durations.sum == pytest.approx(99.011)


def test_a_flood_of_made_up_prefixes_makes_no_flood_of_series() -> None:
    requests = Requests()
    for number in range(10 * ORIGINS):
        requests.take("", b"p%d." % number + OK)
    assert len(requests.by_app({})) == ORIGINS
    assert requests.rejected == 9 * ORIGINS


def test_an_app_that_runs_is_not_locked_out_by_a_flood_of_prefixes() -> None:
    requests = Requests()
    for number in range(10 * ORIGINS):
        requests.take("", b"p%d." % number + OK)
    counted(requests, APPS)
    requests.take("", b"team.blog." + OK)
    assert counted(requests, APPS)["blog"] == {"200": 1}


def test_rubbish_is_counted_as_rejected_and_costs_nothing_else() -> None:
    requests = Requests()
    for packet in (b"\xff\xfe", b"", b"x" * 9000, b"gunicorn.request.duration:nan|ms"):
        requests.take("", packet)
    requests.take("", OK)
    assert requests.rejected == 3
    assert counted(requests, {"shop": ""}) == {"shop": {"200": 1}}
