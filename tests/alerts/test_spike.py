"""A festival, replayed: ten times the traffic for ten minutes, workers die, and what the phone gets of it.

The shipped rules and Alertmanager's shipped configuration with every duration divided by the same number,
in a real Prometheus and a real Alertmanager; before it stand six hours of ordinary traffic.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest
import yaml

from deploy.alertmanager import variants
from floodmark import cli
from tests.alerts.conftest import ROOT, hurried
from tests.support.replay import Played, Prometheus, Series, Story

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.alerts.conftest import Alertmanager, Webhook

pytestmark = pytest.mark.live

FASTER = 20
BEFORE = 60  # seconds of ordinary traffic, then the crowd comes
SPIKE = 600
DEATHS = tuple(BEFORE + minutes * 60 for minutes in (3, 5, 8))
END = BEFORE + SPIKE
WORKERS, SECONDS_EACH = 8, 0.4  # so 20 requests/s are served at most
BACKLOG = 2048
USUAL, CROWD = 2.5, 25.0  # requests/s that come
FULL = BEFORE + BACKLOG / (CROWD - WORKERS / SECONDS_EACH)  # no more can wait from here on
ROUTE = yaml.safe_load(variants.SHIPPED.read_text())["route"]


def grown(story: float, usual: float, crowd: float) -> float:
    """A counter that grows by so many a second of the wall's clock, in ordinary times and in the crowd."""
    if story < 0:
        return 1e6 + usual * story  # history is told in seconds of the wall's clock
    in_crowd = min(max(story - BEFORE, 0), SPIKE)
    return 1e6 + (usual * (story - in_crowd) + crowd * in_crowd) / FASTER


def festival(story: float) -> Series:
    """A small host with 8 sync workers at a second of the story, by floodmark and the log of its proxy."""
    crowd = BEFORE <= story < END
    served = WORKERS / SECONDS_EACH
    waiting = min(int((story - BEFORE) * (CROWD - served)), BACKLOG) if crowd else 0
    died = sum(story >= death for death in DEATHS)
    app = 'app="shop"'
    series = {
        f'gunicorn_workers{{{app},state="busy"}}': WORKERS if crowd else USUAL * SECONDS_EACH,
        f'gunicorn_workers{{{app},state="idle"}}': 0 if crowd else WORKERS - USUAL * SECONDS_EACH,
        f'gunicorn_workers{{{app},state="unknown"}}': 0,
        f"gunicorn_slots{{{app}}}": WORKERS,
        f"gunicorn_requests_in_flight{{{app}}}": WORKERS if crowd else USUAL * SECONDS_EACH,
        f'gunicorn_requests_queued{{{app},where="listen"}}': waiting,
        f'gunicorn_requests_queued{{{app},where="worker"}}': 0,
        f'gunicorn_requests_total{{{app},method="GET",status="200"}}': grown(story, USUAL, served - 2),
        f'gunicorn_requests_total{{{app},method="GET",status="500"}}': grown(story, 0, 2),
        f"gunicorn_request_busy_seconds_total{{{app}}}": grown(story, USUAL * SECONDS_EACH, WORKERS),
        f"gunicorn_memory_headroom_bytes{{{app}}}": 200e6,
        f"gunicorn_memory_limit_bytes{{{app}}}": 1e9,
        f'gunicorn_config{{{app},setting="timeout"}}': 30,
        "node_load1": 9 if crowd else 0.5,
        "node_netstat_TcpExt_ListenOverflows": max(0, min(story, END) - FULL) * (CROWD - served),
        'proxy_requests_total{server="shop",status="200"}': grown(story, USUAL, served - 2),
        'proxy_requests_total{server="shop",status="502"}': grown(story, 0, 2),
        'proxy_gateway_errors_total{server="shop",signature="worker_killed"}': grown(story, 0, 2),
    }
    for bound, usual, busy in (("0.5", 0.95, 0.1), ("1", 0.99, 0.3), ("5", 1, 0.9), ("+Inf", 1, 1)):
        name = f'gunicorn_request_duration_seconds_bucket{{{app},le="{bound}"}}'
        series[name] = grown(story, USUAL * usual, served * busy)
    for cpu in range(2):
        for mode, usual, busy in (
            ("user", 0.2, 0.95),
            ("idle", 0.8, 0.0),
            ("steal", 0, 0),
            ("iowait", 0, 0.05),
        ):
            series[f'node_cpu_seconds_total{{cpu="{cpu}",mode="{mode}"}}'] = grown(story, usual, busy)
    for cause in ("timeout", "oom_kill", "max_requests", "external_kill"):
        name = f'gunicorn_worker_exits_total{{{app},cause="{cause}"}}'
        series[name] = died if cause == "timeout" else 0
    if died:
        doing = 'doing="totals (shop/reports.py:40)"'
        series[f'gunicorn_last_death_info{{{app},cause="timeout",confidence="confirmed",{doing}}}'] = 1
    return {name: float(value) for name, value in series.items()}


STORY = Story(festival, FASTER, {"job": "floodmark", "instance": "web-1"})


class Told(NamedTuple):
    """A message, and how many seconds of the story after the crowd it came."""

    after: float
    title: str
    text: str


@pytest.fixture
def prometheus(program: Callable[[str], Path], tmp_path: Path) -> Iterator[Callable[[int, int], None]]:
    """Return a function that has Prometheus scrape one port and send alerts to another.

    It has the shipped configuration and rules, made faster, and remembers six hours before the story.
    """
    running = Prometheus(tmp_path, (program("prometheus"), program("promtool")))
    rules = tmp_path / "rules"

    def start(port: int, alertmanager: int) -> None:
        assert cli.main(["rules", "export", str(rules), "--faster", str(FASTER)]) == 0
        running.remember(STORY, 6.5 * 3600 / FASTER, sorted(rules.glob("*.rules.yml")))
        config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
        (floodmark, *_) = config["scrape_configs"]
        labels = {label: value for label, value in STORY.target.items() if label != "job"}
        floodmark["static_configs"] = [{"targets": [f"127.0.0.1:{port}"], "labels": labels}]
        every = f"{STORY.every}ms"
        running.start(
            {
                "global": dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), every),
                "rule_files": [str(rules / "*.rules.yml")],
                "alerting": {
                    "alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]
                },
                "scrape_configs": [floodmark],
            }
        )

    yield start
    running.stop()


@pytest.fixture
def told(
    webhook: Webhook,
    shipped: Path,
    alertmanager: Callable[[Path], Alertmanager],
    prometheus: Callable[[int, int], None],
) -> list[Told]:
    """Return every message from a minute before the crowd to twenty minutes after it."""
    config = yaml.safe_load(shipped.read_text())
    config["route"] = hurried(ROUTE, FASTER)
    shipped.write_text(yaml.safe_dump(config))
    with Played(STORY) as played:
        prometheus(played.server_port, alertmanager(shipped).port)
        time.sleep(5 * STORY.every / 1000)  # a few scrapes of the usual
        began = played.begin() + BEFORE / FASTER
        time.sleep((END + 20 * 60) / FASTER)
    return [
        Told((when - began) * FASTER, message["title"], message["text"]) for when, message in webhook.told
    ]


def test_a_festival_makes_three_messages_the_first_within_a_minute_with_its_cause_and_its_end(
    told: list[Told],
) -> None:
    for each in told:
        sys.stdout.write(f"{each.after:5.0f} s after the crowd came: {each.title}\n{each.text}\n\n")
    assert len(told) == 3
    assert 0 < told[0].after <= 60
    assert "TrafficSpikeSaturating" in told[0].title
    assert any("WorkerTimeout" in each.title for each in told[:2])
    assert [each.title for each in told if "RESOLVED" in each.title] == [told[-1].title]
