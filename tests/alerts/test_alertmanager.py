"""What Alertmanager makes of the shipped configuration: read by amtool, run by Alertmanager."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.alerts.conftest import SHIPPED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.alerts.conftest import Alertmanager

    Start = Callable[[Path], Alertmanager]


def firing(alertname: str, **labels: str) -> dict[str, Any]:
    """Return an alert as Prometheus would send it."""
    return {"labels": {"alertname": alertname, "job": "floodmark"} | labels, "endsAt": "2099-01-01T00:00:00Z"}


@pytest.mark.parametrize("name", ["alertmanager.yml", "alertmanager-null.yml"])
def test_amtool_accepts_the_configuration(name: str, program: Callable[[str], Path]) -> None:
    done = subprocess.run(
        [program("amtool"), "check-config", SHIPPED / name], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.live
def test_without_slack_alertmanager_starts_and_takes_alerts(alertmanager: Start) -> None:
    running = alertmanager(SHIPPED / "alertmanager-null.yml")
    running.post(firing("WorkerTimeout", instance="web-1", app="shop"))
    assert running.inhibited() == {"WorkerTimeout": False}


@pytest.mark.live
def test_a_host_that_is_down_silences_all_else_of_that_host_and_no_other_host(
    alertmanager: Start, shipped: Path
) -> None:
    running = alertmanager(shipped)
    running.post(
        firing("TargetDown", instance="web-1"),
        firing("WorkerOomKilled", instance="web-1", app="shop"),
        firing("DiskQueueHigh", instance="web-1", device="sda"),
        firing("RssCreep", instance="web-2", app="shop"),
    )
    assert running.inhibited() == {
        "TargetDown": False,
        "WorkerOomKilled": True,
        "DiskQueueHigh": True,
        "RssCreep": False,
    }


@pytest.mark.live
def test_no_target_at_all_silences_nothing(alertmanager: Start, shipped: Path) -> None:
    running = alertmanager(shipped)
    running.post(firing("TargetDown"), firing("Theirs"), firing("RssCreep", instance="web-2", app="shop"))
    assert not any(running.inhibited().values())
