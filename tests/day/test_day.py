"""24 hours of a healthy host tell nothing; each alert has a fault on that day that it, and only it, tells."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from deploy.demo import servers
from tests.day import inhibition, play
from tests.day.faults import FAULTS, HEALTHY, HEALTHY_SUNDAY
from tests.day.healthy import healthy

if TYPE_CHECKING:
    from tests.day.faults import Fault
    from tests.day.inhibition import Alert

EVERY = (HEALTHY, HEALTHY_SUNDAY, *FAULTS)
ALERTS = sorted(
    {(rule["alert"], rule["labels"]["severity"]) for rule in play.rules() if "alert" in rule}
    - {("Watchdog", "info")}  # it always fires
)


@pytest.mark.parametrize("alert", ALERTS, ids="-".join)
def test_an_alert_has_a_fault_of_its_own(alert: tuple[str, str]) -> None:
    assert [fault.instance for fault in FAULTS if fault.expected[0][:2] == alert]


def test_the_healthy_host_has_every_series_that_rules_ask_for() -> None:
    day = healthy()
    here = {key.name for key in (*day.gauges, *day.counters)}
    recorded = {rule["record"] for rule in play.rules() if "record" in rule}
    # The other name of jvm_gc_overhead: a JVM has one of the two.
    assert play.asked() - recorded - here == {"ALERTS", "jvm_gc_overhead_percent"}


def test_faults_have_names_of_their_own_and_expect_alerts_that_exist() -> None:
    names = [fault.instance for fault in EVERY]
    assert sorted(names) == sorted(set(names))
    assert {told[:2] for fault in FAULTS for told in fault.expected} <= set(ALERTS)


def test_every_host_is_played_once_and_the_healthy_one_beside_all_that_share_its_prometheus() -> None:
    batches = play.batches(FAULTS)
    played = [fault.instance for batch in batches for fault in batch.faults if fault is not HEALTHY]
    assert sorted(played) == sorted(fault.instance for fault in EVERY[1:])
    assert all(batch.faults[0] is HEALTHY or batch.faults[0].alone for batch in batches)


@pytest.fixture(scope="session")
def results() -> dict[str, list[play.Result]]:
    """Return what was told of each host; the healthy one has several."""
    try:
        servers.find("promtool")
    except servers.UnavailableError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
    found: dict[str, list[play.Result]] = {}
    for done in play.play(play.batches(FAULTS)):
        for result in done:
            found.setdefault(result.fault.instance, []).append(result)
    return found


@pytest.mark.live
@pytest.mark.parametrize("fault", EVERY, ids=lambda fault: fault.instance)
def test_exactly_what_is_wrong_is_told(fault: Fault, results: dict[str, list[play.Result]]) -> None:
    for result in results[fault.instance]:
        assert result.unexpected == []
        assert result.missing == []


def alert(name: str, **labels: str) -> Alert:
    return frozenset({"alertname": name, **labels}.items())


def test_a_cause_silences_its_symptom_on_the_same_host_only() -> None:
    cause = alert("DbDiskQueueHigh", instance="web-1", severity="critical")
    symptom = alert("WorkerTimeout", instance="web-1", app="shop", severity="warning")
    elsewhere = alert("WorkerTimeout", instance="web-2", app="shop", severity="warning")
    assert inhibition.told({cause, symptom, elsewhere}) == {cause, elsewhere}
    assert inhibition.told({symptom}) == {symptom}


def test_what_is_source_and_target_of_a_rule_silences_neither_itself_nor_its_like() -> None:
    down = alert("TargetDown", instance="web-1", severity="critical")
    other = alert("TargetDown", instance="web-1", severity="critical", job="floodmark")
    assert inhibition.told({down, other}) == {down, other}


def test_a_label_that_both_lack_is_equal_and_one_that_must_not_be_empty_is_not() -> None:
    critical, warning = alert("RuleFailing", severity="critical"), alert("RuleFailing", severity="warning")
    assert inhibition.told({critical, warning}) == {critical}
    assert len(inhibition.told({alert("TargetDown", severity="critical"), warning})) == 2
