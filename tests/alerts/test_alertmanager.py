"""What Alertmanager makes of the shipped configuration: read by amtool, run by Alertmanager."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml

from deploy.alertmanager import variants
from tests.alerts.conftest import ROOT, SHIPPED, hurried

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.alerts.conftest import Alertmanager, Webhook

    Start = Callable[[Path], Alertmanager]

CONFIG: dict[str, Any] = yaml.safe_load(variants.SHIPPED.read_text())


def firing(alertname: str, **labels: str) -> dict[str, Any]:
    """Return an alert as Prometheus would send it."""
    return {"labels": {"alertname": alertname, "job": "floodmark"} | labels, "endsAt": "2099-01-01T00:00:00Z"}


@pytest.fixture
def variant(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a variant in a copy of the folder, as people are told to make one without Docker.

    Its heartbeat is readable for Alertmanager 0.25 too, which knows no url_file yet: the address stands in
    the file, and only here.
    """
    shutil.copytree(SHIPPED, tmp_path / "alertmanager", symlinks=True)
    path: Path = tmp_path / "alertmanager" / "variants" / request.param
    text = path.read_text().replace("url_file: /run/secrets/heartbeat", "url: http://127.0.0.1:9/")
    path.write_text(text.replace("/run/secrets/", f"{tmp_path}/"))
    return path


VARIANTS = [path.name for path in variants.files()]


def test_each_variant_is_what_alertmanager_yml_says_now() -> None:
    assert {path.name for path in variants.FOLDER.iterdir()} == set(VARIANTS)
    assert all(path.read_text() == text for path, text in variants.files().items())


@pytest.mark.parametrize("variant", VARIANTS, indirect=True)
def test_amtool_accepts_the_configuration(variant: Path, program: Callable[[str], Path]) -> None:
    done = subprocess.run(
        [program("amtool"), "check-config", variant], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("variant", ["alertmanager-slack-heartbeat.yml"], indirect=True)
@pytest.mark.parametrize(
    ("receiver", "labels"),
    [
        ("heartbeat", ["alertname=Watchdog", "severity=info"]),
        ("slack-once", ["alertname=WorkerOomKilled", "severity=critical", "kind=event"]),
        ("slack-once", ["alertname=NoSwap", "severity=info"]),
        ("slack", ["alertname=TrafficSpikeSaturating", "severity=critical"]),
        ("slack", ["alertname=RssCreep", "severity=warning"]),
        ("slack", ["alertname=Theirs"]),
    ],
)
def test_an_alert_goes_to_the_receiver_it_should(
    receiver: str, labels: list[str], variant: Path, program: Callable[[str], Path]
) -> None:
    done = subprocess.run(
        [program("amtool"), "config", "routes", "test", f"--config.file={variant}", *labels],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == [receiver], done.stderr


def test_what_has_no_end_is_never_told_as_resolved() -> None:
    resolved = {
        receiver["name"]: {slack["send_resolved"] for slack in receiver["slack_configs"]}
        for receiver in CONFIG["receivers"]
        if "slack_configs" in receiver
    }
    assert resolved == {"slack": {True}, "slack-once": {False}}


@pytest.mark.live
@pytest.mark.parametrize("variant", ["alertmanager.yml"], indirect=True)
def test_without_slack_alertmanager_starts_and_takes_alerts(variant: Path, alertmanager: Start) -> None:
    running = alertmanager(variant)
    running.post(firing("WorkerTimeout", instance="web-1", app="shop"))
    assert [alert.name for alert in running.told()] == ["WorkerTimeout"]


@pytest.mark.live
@pytest.mark.parametrize("variant", ["alertmanager-slack.yml"], indirect=True)
def test_a_copy_of_the_folder_sends_whole_messages(
    variant: Path, alertmanager: Start, webhook: Webhook, tmp_path: Path
) -> None:
    (tmp_path / "slack_webhook").write_text(webhook.url)
    alertmanager(variant).post(firing("RssCreep", instance="web-1", app="shop", severity="warning"))
    assert webhook.next()["title"] == "[FIRING:1] warning · RssCreep · shop@web-1"


@pytest.mark.live
def test_the_heartbeat_goes_out_each_minute_and_not_each_second_one(
    alertmanager: Start, webhook: Webhook, tmp_path: Path
) -> None:
    """Everything 60 times as fast; the interval of repetition is rounded up to the group's."""
    config = variants.variant(CONFIG, ["heartbeat"])
    config["route"] = hurried(config["route"], 60)
    (heartbeat,) = (one for one in config["receivers"] if one["name"] == "heartbeat")
    heartbeat["webhook_configs"] = [{"url": webhook.url, "send_resolved": False}]
    (tmp_path / "heartbeat.yml").write_text(yaml.safe_dump(config))
    alertmanager(tmp_path / "heartbeat.yml").post(firing("Watchdog"))
    beats = [webhook.beat() for _ in range(6)]
    apart = [after - before for before, after in itertools.pairwise(beats)]
    assert sorted(apart)[len(apart) // 2] < 1.5


class Pair(NamedTuple):
    """A cause, what it silences, and the labels both must share."""

    source: str
    target: str
    equal: frozenset[str]


def pairs(equal: str, **targets: str) -> set[Pair]:
    """Return each cause with each of what it silences."""
    return {
        Pair(source, target, frozenset(equal.split()))
        for source, names in targets.items()
        for target in names.split()
    }


# alerts.md's tree and what was added to it; the configuration is held to name no other.
TREE = pairs(
    "instance app",
    TrafficSpikeSaturating=(
        "TrafficSpike CapacityExceeded WorkersSaturated RequestsQueueing SlowRequests ErrorRate"
        " ErrorBudgetBurn"
    ),
    WorkersSaturated="RequestsQueueing CapacityExceeded",
    WorkerOomKilled="WorkerCrashLoop",
    WorkerTimeout="WorkerCrashLoop",
    WorkerCrashed="WorkerCrashLoop",
    AppBootFailing="WorkerCrashLoop",
    MemoryFullSoon="RssCreep",
    ErrorBudgetBurn="ErrorRate",
) | pairs(
    "instance",
    TrafficSpikeSaturating="CpuSaturated ListenOverflow GatewayErrors",
    WorkerOomKilled="MemoryLow MemoryPressure",
    WorkerTimeout="GatewayErrors",
    DbDiskQueueHigh="WorkerTimeout GatewayErrors SlowRequests DbConnectionsHigh DbSlowQueries",
    MemoryLow="MemoryPressure NoSwap",
    JvmOldGenAfterGcHigh="JvmHeapHigh",
    JvmGcOverhead="JvmLongGcPause",
    CpuCreditsLow="CpuSteal CpuSaturated",
)


def named(matchers: list[str]) -> list[str]:
    """Return the alerts that matchers such as `alertname =~ "A|B"` name."""
    (names,) = (matcher.partition('"')[2].rstrip('"') for matcher in matchers if matcher[:9] == "alertname")
    return names.split("|")


def test_the_tree_is_all_that_inhibits_by_name() -> None:
    rules = [rule for rule in CONFIG["inhibit_rules"] if "severity" not in str(rule["source_matchers"])]
    configured = {
        Pair(source, target, frozenset(rule["equal"]))
        for rule in rules
        if "TargetDown" not in str(rule)
        for source in named(rule["source_matchers"])
        for target in named(rule["target_matchers"])
    }
    assert configured == TREE


@pytest.mark.parametrize("pair", sorted(TREE), ids=lambda pair: f"{pair.source}-{pair.target}")
def test_an_alert_of_the_tree_has_each_label_that_is_compared(pair: Pair) -> None:
    """One that both sides lack would count as equal, and silence other hosts."""
    for name in (pair.source, pair.target):
        cases = yaml.safe_load((ROOT / f"tests/alerts/{name}.test.yml").read_text())["tests"]
        made = cases[0]["alert_rule_test"][0]["exp_alerts"]
        assert all(pair.equal <= alert["exp_labels"].keys() for alert in made), name


@pytest.mark.live
def test_a_cause_silences_its_symptoms_on_its_own_host_and_app_and_nowhere_else(
    alertmanager: Start, shipped: Path
) -> None:
    running = alertmanager(shipped)
    alerts, expected = [], []
    for number, pair in enumerate(sorted(TREE)):
        here, elsewhere = ({"instance": f"{host}-{number}", "app": "shop"} for host in ("web", "db"))
        alerts += [firing(pair.source, **here), firing(pair.target, **here), firing(pair.target, **elsewhere)]
        expected.append((pair.target, f"web-{number}", "shop"))
        if "app" in pair.equal:
            alerts.append(firing(pair.target, instance=f"web-{number}", app="blog"))
    running.post(*alerts)
    assert sorted(running.inhibited(len(expected))) == sorted(expected)
    assert len(running.told()) == len(alerts) - len(expected)


@pytest.mark.live
def test_a_host_that_is_down_silences_all_else_of_that_host_and_no_other_host(
    alertmanager: Start, shipped: Path
) -> None:
    running = alertmanager(shipped)
    running.post(
        firing("TargetDown", instance="web-1"),
        firing("WorkerOomKilled", instance="web-1", app="shop"),
        firing("DiskQueueHigh", instance="web-1", device="sda"),
        firing("Watchdog", instance="web-1"),
        firing("RssCreep", instance="web-2", app="shop"),
    )
    assert {alert.name for alert in running.inhibited(2)} == {"WorkerOomKilled", "DiskQueueHigh"}
    assert {alert.name for alert in running.told()} == {"TargetDown", "Watchdog", "RssCreep"}


@pytest.mark.live
def test_no_target_at_all_silences_nothing(alertmanager: Start, shipped: Path) -> None:
    running = alertmanager(shipped)
    running.post(firing("TargetDown"), firing("Theirs"), firing("RssCreep", instance="web-2", app="shop"))
    # That these two are seen says that those above were.
    running.post(firing("TargetDown", instance="web-1"), firing("RssCreep", instance="web-1"))
    assert [(alert.name, alert.instance) for alert in running.inhibited(1)] == [("RssCreep", "web-1")]


@pytest.mark.live
def test_the_worst_of_one_alert_silences_its_milder_self_and_no_other(
    alertmanager: Start, shipped: Path
) -> None:
    running = alertmanager(shipped)
    web = {"instance": "web-1", "app": "shop"}
    running.post(
        *(
            firing("ErrorBudgetBurn", severity=severity, **web)
            for severity in ("critical", "warning", "info")
        ),
        firing("RssCreep", severity="warning", **web),
        firing("TrafficSpike", severity="info", instance="web-2", app="shop"),
        firing("FilesystemFillingUp", severity="critical", instance="web-1", mountpoint="/"),
        firing("FilesystemFillingUp", severity="warning", instance="web-1", mountpoint="/srv"),
    )
    assert [alert.name for alert in running.inhibited(2)] == ["ErrorBudgetBurn"] * 2


@pytest.mark.live
def test_a_full_disk_of_prometheus_explains_that_no_target_is_left_but_not_a_host_that_is_down(
    alertmanager: Start, shipped: Path
) -> None:
    running = alertmanager(shipped)
    running.post(firing("PrometheusDiskFull"), firing("TargetDown"), firing("TargetDown", instance="web-1"))
    assert [(alert.name, alert.instance) for alert in running.inhibited(1)] == [("TargetDown", "")]
