"""The message on the phone: real alerts through a real Alertmanager to a webhook."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.alerts.conftest import ROOT, SHIPPED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.alerts.conftest import Alertmanager, Webhook

    Start = Callable[[Path], Alertmanager]

pytestmark = pytest.mark.live

FIRING = {"startsAt": "2026-10-31T19:04:05Z", "endsAt": "2099-01-01T00:00:00Z"}
RESOLVED = {"startsAt": FIRING["startsAt"], "endsAt": "2026-10-31T20:16:45Z"}
# What Slack shows in the reader's own time zone.
FROM = "<!date^1793473445^{date_short_pretty} {time}|Oct 31 19:04 UTC>"
TO = "<!date^1793477805^{date_short_pretty} {time}|Oct 31 20:16 UTC>"


def expected_alert(name: str) -> dict[str, Any]:
    """Return the labels and annotations that the rule's own test has the rule make."""
    cases = yaml.safe_load((ROOT / f"tests/alerts/{name}.test.yml").read_text())["tests"]
    return cases[0]["alert_rule_test"][0]["exp_alerts"][0]  # type: ignore[no-any-return]  # parsed YAML


def alert(name: str, **changes: object) -> dict[str, Any]:
    """Return that alert as Prometheus would send it."""
    made = expected_alert(name)
    labels = {"alertname": name} | made["exp_labels"]
    return FIRING | {"labels": labels, "annotations": made["exp_annotations"]} | changes


def foreign(name: str, **annotations: str) -> dict[str, Any]:
    """Return an alert of someone else's rules, of the same host and app."""
    labels = {"alertname": name, "severity": "warning", "instance": "web-1", "app": "shop"}
    return FIRING | {"labels": labels, "annotations": annotations}


def test_one_alert_says_what_is_broken_since_when_what_it_costs_and_what_to_type(
    shipped: Path, alertmanager: Start, webhook: Webhook
) -> None:
    alertmanager(shipped).post(alert("WorkerOomKilled"))
    message = webhook.next()
    assert message["title"] == "[FIRING:1] critical · WorkerOomKilled · shop@web-1"
    assert (
        message["fallback"]
        == "🔴 The kernel killed 2 workers of shop on web-1 for memory in the last 15 minutes."
    )
    assert message["color"] == "#e01e5a"
    assert message["text"].splitlines() == [
        "🔴 *The kernel killed 2 workers of shop on web-1 for memory in the last 15 minutes.*",
        (
            "Exits with cause oom_kill: 2 (alert above 0). It IS memory: the kernel itself "
            "says so, this is no guess from gunicorn's log. Largest worker seen: 400MiB. Limit for all: "
            f"512MiB. Since {FROM}."
        ),
        "*The last one was in:* a POST request",
        "*Impact:* The requests these workers were serving failed, and it goes on until memory is freed.",
        "*Type:* `sudo dmesg --ctime | grep -iE 'oom-kill|killed process' | tail -n 5`",
    ]


def test_six_alerts_make_one_message_led_by_the_worst_with_five_told_and_one_counted(
    shipped: Path, alertmanager: Start, webhook: Webhook
) -> None:
    ours = [alert(name) for name in ("RssCreep", "TrafficSpike", "WorkerOomKilled", "WorkerTimeout")]
    alertmanager(shipped).post(*ours, foreign("<Their> & our alert"), foreign("Z"))
    message = webhook.next("[FIRING:6]")
    assert message["title"] == "[FIRING:6] critical · WorkerOomKilled · shop@web-1"
    assert message["text"].splitlines()[5:] == [
        f"🟠 Memory of shop on web-1 grew by 72MiB in 6 hours and does not come back. Since {FROM}.",
        f"🔵 shop on web-1 gets 33.0 requests/s, 9 times its average. Since {FROM}.",
        (
            "🟠 Gunicorn killed 2 workers of shop on web-1 for silence (NOT memory) in the last 15 minutes. "
            f"Since {FROM}."
        ),
        f"🟠 &lt;Their&gt; &amp; our alert Since {FROM}.",
        "+1 more",
    ]


def test_a_resolved_message_is_green_and_says_how_long_it_lasted(
    shipped: Path, alertmanager: Start, webhook: Webhook
) -> None:
    running = alertmanager(shipped)
    running.post(alert("WorkerTimeout"))
    webhook.next()
    running.post(alert("WorkerTimeout", **RESOLVED))
    message = webhook.next()
    said = "Gunicorn killed 2 workers of shop on web-1 for silence (NOT memory) in the last 15 minutes."
    assert message["title"] == "[RESOLVED] warning · WorkerTimeout · shop@web-1"
    assert message["fallback"] == f"✅ Resolved after 1h12m: {said}"
    assert message["color"] == "#2eb67d"
    assert message["text"].splitlines() == [f"✅ *{said}*", f"Lasted 1h12m: {FROM} to {TO}."]


def test_fifty_long_alerts_in_korean_and_emoji_still_fit_what_slack_takes(
    shipped: Path, alertmanager: Start, webhook: Webhook
) -> None:
    long = "메모리가 가득 찼습니다 🔥 <&> " * 100
    texts = {"summary": long, "description": long, "impact": long, "action": long, "doing": long}
    alertmanager(shipped).post(*(foreign(f"경보{n:02}", **texts) for n in range(50)))
    message = webhook.next("[FIRING:50]")
    assert webhook.refused == []
    assert message["title"] == "[FIRING:50] warning · 경보49 · shop@web-1"
    assert message["text"].splitlines()[-1] == "+45 more"
    assert message["text"].count("🟠") == 5


def test_an_alert_without_annotations_or_labels_of_ours_still_makes_a_message(
    shipped: Path, alertmanager: Start, webhook: Webhook
) -> None:
    alertmanager(shipped).post(FIRING | {"labels": {"alertname": "Bare", "job": "theirs"}})
    message = webhook.next()
    assert message["title"] == "[FIRING:1] Bare · theirs"
    assert message["fallback"] == "🔵 Bare"
    assert message["text"].splitlines() == ["🔵 *Bare*", f"Since {FROM}."]
    assert buttons(message) == {}


def test_one_that_resolves_while_others_fire_is_counted(
    shipped: Path, alertmanager: Start, webhook: Webhook
) -> None:
    running = alertmanager(shipped)
    running.post(alert("WorkerTimeout"), alert("RssCreep"))
    webhook.next("[FIRING:2]")
    running.post(alert("WorkerTimeout", **RESOLVED))
    message = webhook.next("[FIRING:1]")
    assert message["title"] == "[FIRING:1] warning · RssCreep · shop@web-1"
    assert message["text"].splitlines()[-1] == "✅ 1 resolved since the last message"


def buttons(message: dict[str, Any]) -> dict[str, str]:
    """Return the buttons Slack shows (it leaves out those without an address) and where they lead."""
    return {action["text"]: action["url"] for action in message["actions"] if "url" in action}


def test_the_dashboard_button_is_left_out_until_grafanas_address_is_known(
    shipped: Path, alertmanager: Start, webhook: Webhook
) -> None:
    alertmanager(shipped).post(alert("WorkerOomKilled"))
    runbook = expected_alert("WorkerOomKilled")["exp_annotations"]["runbook_url"]
    assert buttons(webhook.next()) == {"Runbook": runbook}


def test_the_dashboard_button_opens_the_hour_before_the_alert_for_its_host_and_app(
    shipped: Path, alertmanager: Start, webhook: Webhook, tmp_path: Path
) -> None:
    shutil.copytree(SHIPPED / "templates", tmp_path / "templates")
    template = tmp_path / "templates" / "grafana.tmpl"
    empty = '$grafana := ""'
    assert empty in template.read_text()
    template.write_text(template.read_text().replace(empty, '$grafana := "https://grafana.example.org"'))
    config = yaml.safe_load(shipped.read_text())
    shipped.write_text(yaml.safe_dump(config | {"templates": [str(tmp_path / "templates/*.tmpl")]}))
    running = alertmanager(shipped)

    running.post(alert("WorkerOomKilled"))
    address = (
        "https://grafana.example.org/d/floodmark-overview?var-job=floodmark&var-instance=web-1&var-app=shop"
    )
    assert buttons(webhook.next())["Dashboard"] == f"{address}&from=1793469845000&to=now"
    running.post(alert("WorkerOomKilled", **RESOLVED))
    assert buttons(webhook.next())["Dashboard"] == f"{address}&from=1793469845000&to=1793478405000"


@pytest.mark.parametrize(
    "rule_test", sorted(ROOT.glob("tests/alerts/*.test.yml")), ids=lambda path: path.stem
)
def test_no_rule_says_more_than_the_message_has_room_for(rule_test: Path) -> None:
    room = {"summary": 150, "description": 300, "impact": 150, "action": 150}
    for case in yaml.safe_load(rule_test.read_text())["tests"]:
        for expected in case.get("alert_rule_test", []):
            for made in expected["exp_alerts"]:
                annotations = made["exp_annotations"]
                told = {
                    key: room[key.removesuffix("_ko")]
                    for key in annotations
                    if key.removesuffix("_ko") in room
                }
                assert {key for key, most in told.items() if len(annotations[key]) > most} == set()
