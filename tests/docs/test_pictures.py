"""What the pictures of the docs are drawn from: a whole evening, alerts that really fire, real hours."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING

import pytest

from docs.pictures import draw
from docs.pictures.story import END, TOLD, story
from tests.day import play
from tests.day.series import HOURS
from tests.support.promql import selectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NOON = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize("path", sorted(draw.DASHBOARDS.glob("*.json")), ids=lambda path: path.stem)
def test_the_story_has_every_series_that_a_dashboard_asks_for(path: Path) -> None:
    host = story()
    there = {key.name for key in (*host.gauges, *host.counters)} | {"ALERTS"}
    there |= {rule["record"] for rule in play.rules() if "record" in rule}
    asked = {each.name for expr in _queries(json.loads(path.read_text())) for each in selectors(expr)}
    assert asked
    assert asked <= there


def _queries(part: object) -> Iterator[str]:
    """Yield what panels and annotations ask, not what fills in variables."""
    if isinstance(part, dict):
        if "expr" in part:
            yield part["expr"]
        for value in part.values():
            yield from _queries(value)
    elif isinstance(part, list):
        for value in part:
            yield from _queries(value)


def test_the_story_ends_at_its_own_hour_of_the_clock_and_never_in_the_future() -> None:
    now = NOON.timestamp()
    assert dt.datetime.fromtimestamp(draw.evening(now), dt.UTC).strftime("%d %H:%M") == "19 20:58"
    late = (NOON + dt.timedelta(hours=11)).timestamp()
    assert draw.evening(late) == draw.evening(now) + 86400


def test_no_death_is_told_by_halves_and_none_is_lost() -> None:
    told = {
        series: [value for _, value in points]
        for series, points in draw.history(0)
        if series.startswith("gunicorn_worker_exits_total")
    }
    assert all(value.is_integer() for values in told.values() for value in values)
    by_cause = {
        cause: sum(values[-1] for series, values in told.items() if f'cause="{cause}"' in series)
        for cause in ("oom_kill", "timeout")
    }
    shown = [death.cause for death in TOLD.deaths if HOURS[death.sample] < END]
    assert by_cause == {cause: shown.count(cause) for cause in by_cause}


def test_a_rule_is_recorded_after_those_that_it_asks() -> None:
    known: set[str] = set()
    later = {rule["record"] for rules in draw.recorded() for rule in rules}
    for rules in draw.recorded():
        own = {rule["record"] for rule in rules}
        later -= own
        for rule in rules:
            asked = {each.name for each in selectors(rule["expr"])}
            assert not asked & later
            assert not asked & own - {rule["record"]}
        known |= own
    assert known == {rule["record"] for rule in play.rules() if "record" in rule}


@pytest.mark.live
def test_alerts_of_the_story_fire_where_the_shipped_rules_say_so(program: Callable[[str], Path]) -> None:
    program("promtool")
    death = next(death for death in TOLD.deaths if death.cause == "oom_kill")
    hour = HOURS[death.sample]
    first = 1e9
    times = [
        at
        for series, points in draw.alerts(first, (hour - 0.1, hour + 0.1))
        if 'alertname="WorkerOomKilled"' in series
        for at, _ in points
    ]
    assert times
    assert 0 <= min(times) - (first + (hour + 8) * 3600) <= 120
