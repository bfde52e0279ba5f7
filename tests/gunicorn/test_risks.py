"""Risky settings, one table for all rules: what is said, and when nothing is."""

import dataclasses
import math
from typing import Any

import pytest

from floodmark.gunicorn import risks
from floodmark.gunicorn.risks import Running
from floodmark.gunicorn.settings import Settings
from floodmark.sources.proxyconf import ProxyTimeout

MIB = 1 << 20
SAFE = {
    "max_requests": 1000,
    "max_requests_jitter": 100,
    "preload_app": False,
    "statsd_host": "",
    "statsd_prefix": "",
    "workers": 3,
}


def running(app: str = "shop", pid: int = 10, **values: object) -> Running:
    return Running(
        app=app,
        pid=pid,
        parent=1,
        settings=Settings("app", SAFE | values),
        private=(80 * MIB, 100 * MIB, 90 * MIB),
        limit=1024 * MIB,
        control=app,
    )


def other(**values: object) -> Running:
    return running("blog", 20, **values)


RISKY = {
    "no-recycling": ([running(max_requests=0)], "no max_requests", ("shop",)),
    "recycled-together": ([running(max_requests_jitter=0)], "max_requests 1000 without jitter", ("shop",)),
    "over-budget": (
        [running(workers="11")],
        "11 workers as large as the largest need 1100 MiB, there are 1024",
        ("shop",),
    ),
    "over-budget-by-live-workers": (
        [dataclasses.replace(running(workers=None), limit=200 * MIB)],
        "3 workers as large as the largest need 300 MiB, there are 200",
        ("shop",),
    ),
    "one-socket": (
        [running(), dataclasses.replace(other(), control="shop")],
        "one control socket for several gunicorns",
        ("blog", "shop"),
    ),
    "one-name": ([running(), running(pid=20)], "one name for 2 gunicorns (pids 10, 20)", ("shop",)),
    "statsd": (
        [running(statsd_host="127.0.0.1:8125"), other(statsd_host="127.0.0.1:8125", statsd_prefix="blog")],
        "StatsD without prefix from a host with several gunicorns",
        ("shop",),
    ),
}
HARMLESS = {
    "nothing-runs": [],
    "safe": [running(), other()],
    "unknown-is-no-risk": [dataclasses.replace(running(), settings=Settings("app", {}))],
    "one-worker-has-none-beside-it": [running(workers=1, max_requests_jitter=0)],
    "preloaded-workers-share-memory": [running(workers=11, preload_app=True)],
    "just-fits": [running(workers=10)],
    "no-worker-yet": [dataclasses.replace(running(workers=11), private=())],
    "no-control-socket-is-no-common-one": [
        dataclasses.replace(running(), control=None),
        dataclasses.replace(other(), control=None),
    ],
    "an-upgrade-is-one-gunicorn": [running(), dataclasses.replace(running(pid=20), parent=10)],
    "one-gunicorn-needs-no-prefix": [running(statsd_host="127.0.0.1:8125"), other()],
    "a-socket-of-its-own-is-as-good-as-a-prefix": [
        running(statsd_host="unix:///run/shop.sock"),
        other(statsd_host="unix:///run/blog.sock"),
    ],
}


@pytest.mark.parametrize(("host", "problem", "apps"), RISKY.values(), ids=RISKY)
def test_a_risk_is_named_once_with_whose_it_is_and_what_to_do(
    host: list[Running], problem: str, apps: tuple[str, ...]
) -> None:
    (risk,) = risks.find(host, swap=1)
    assert (risk.problem, risk.apps) == (problem, apps)
    assert risk.costs
    assert risk.advice


@pytest.mark.parametrize("host", HARMLESS.values(), ids=HARMLESS)
def test_nothing_is_said_without_a_reason(host: list[Running]) -> None:
    assert risks.find(host, swap=1) == []


def test_a_host_without_swap_is_a_risk_where_a_gunicorn_runs_and_unknown_swap_is_none() -> None:
    assert [(risk.problem, risk.apps) for risk in risks.find([running()], swap=0)] == [("no swap", ())]
    assert risks.find([running()], swap=None) == []
    assert risks.find([], swap=0) == []


def test_the_same_risk_of_several_apps_is_one() -> None:
    (risk,) = risks.find([running(max_requests=0), other(max_requests=0)], swap=1)
    assert risk.apps == ("shop", "blog")


def test_the_advice_fits_the_numbers() -> None:
    (jitter,) = risks.find([running(max_requests=500, max_requests_jitter=0)], swap=1)
    assert jitter.advice == "--max-requests-jitter 50"
    (budget,) = risks.find([running(workers=11)], swap=1)
    assert budget.advice.startswith("--workers 10,")


def test_no_timeout_at_all_is_a_risk() -> None:
    assert [risk.problem for risk in risks.find([running(timeout=0)], swap=1)] == ["no timeout"]


@pytest.mark.parametrize(
    ("settings", "seconds", "problem"),
    [
        ({"timeout": 30}, 60.0, "timeout 30 s is below nginx's proxy_read_timeout (60 s)"),
        ({"timeout": 30}, math.inf, "timeout 30 s is below nginx's proxy_read_timeout (no limit)"),
        ({"timeout": 65}, 60.0, None),
        ({"timeout": 0}, 60.0, None),  # no timeout at all
        ({"timeout": 30, "threads": 4}, 60.0, None),  # no single request of a gthread worker can run into it
    ],
)
def test_a_timeout_below_the_proxys_is_a_risk_for_sync_workers(
    settings: dict[str, Any], seconds: float, problem: str | None
) -> None:
    proxy = ProxyTimeout("nginx's proxy_read_timeout", seconds)
    sync: dict[str, Any] = {"worker_class": "sync", "threads": 1}
    found = [risk.problem for risk in risks.find([running(**sync | settings)], swap=1, proxies=[proxy])]
    assert [each for each in found if proxy.name in each] == ([problem] if problem else [])
