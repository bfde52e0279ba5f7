"""The message on the phone: real alerts through a real Alertmanager to a webhook, in both languages."""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import yaml

from deploy.alertmanager import variants
from deploy.demo import slack
from tests.alerts.conftest import ROOT, SHIPPED

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.alerts.conftest import Alertmanager, Webhook

    Start = Callable[..., Alertmanager]

LANGUAGES = ("en", "ko")
# How a title begins.
FIRING, RESOLVED = {"en": "[FIRING:", "ko": "[발생:"}, {"en": "[RESOLVED]", "ko": "[해소]"}
OPEN = {"startsAt": "2026-10-31T19:04:05Z", "endsAt": "2099-01-01T00:00:00Z"}
OVER = {"startsAt": OPEN["startsAt"], "endsAt": "2026-10-31T20:16:45Z"}

SNAPSHOTS = Path(__file__).parent / "slack"
EXAMPLES = ROOT / "exporter/floodmark/commands"
WRITE = "FLOODMARK_WRITE_GOLDEN"
STORY: dict[str, dict[str, Any]] = yaml.safe_load((SNAPSHOTS / "alerts.yml").read_text())

live = pytest.mark.live


def alert(name: str, times: dict[str, str] = OPEN, **labels: str) -> dict[str, Any]:
    """Return an alert of alerts.yml as Prometheus would send it."""
    sent = STORY[name]
    texts = {
        key: text.removesuffix("...") * (100 if text.endswith("...") else 1)
        for key, text in sent.get("annotations", {}).items()
    }
    return {**sent, **times, "labels": sent["labels"] | labels, "annotations": texts}


@pytest.fixture(params=LANGUAGES)
def lang(request: pytest.FixtureRequest) -> str:
    """Return a language's short name."""
    return str(request.param)


@pytest.fixture
def spoken(shipped: Path, lang: str) -> Path:
    """Return the shipped configuration in that language."""
    text = shipped.read_text()
    assert text.count("languages/en.tmpl") == 1
    shipped.write_text(text.replace("languages/en.tmpl", f"languages/{lang}.tmpl"))
    return shipped


def buttons(attachment: dict[str, Any]) -> dict[str, str]:
    """Return the buttons Slack shows (it leaves out those without an address) and where they lead."""
    return {action["text"]: action["url"] for action in attachment["actions"] if "url" in action}


# --- Snapshots

# By the name of its file: what is sent, one after the other, and how the title of the last message goes on.
CASES: dict[str, tuple[list[list[dict[str, Any]]], str]] = {
    "1": ([[alert("oom")]], "1]"),
    "6": ([[alert(name) for name in ("oom", "timeout", "creep", "slow", "disk", "theirs")]], "6]"),
    "50": ([[alert("long", alertname=f"경보{n:02}") for n in range(50)]], "50]"),
    "resolved": ([[alert("timeout")], [alert("timeout", OVER)]], ""),
    "resolved-6": (
        [
            [alert(name, times) for name in ("oom", "timeout", "creep", "slow", "disk", "theirs")]
            for times in (OPEN, OVER)
        ],
        "",
    ),
    "one-of-2-resolved": ([[alert("timeout"), alert("creep")], [alert("timeout", OVER)]], "1]"),
    "info": ([[alert("spike")]], "1]"),
    "missing-annotations": ([[alert("bare")]], "1]"),
}


@live
@pytest.mark.parametrize("case", CASES)
def test_the_message_is_the_one_committed(
    case: str, lang: str, spoken: Path, alertmanager: Start, webhook: Webhook
) -> None:
    running = alertmanager(spoken, external_url="https://alerts.example.org/am/")
    posts, title = CASES[case]
    for place, alerts in enumerate(posts):
        running.post(*alerts)
        if place < len(posts) - 1:
            webhook.next(f"{FIRING[lang]}{len(alerts)}]")
    attachment = webhook.next(FIRING[lang] + title if title else RESOLVED[lang])
    assert not webhook.refused
    compare(SNAPSHOTS / f"{case}.{lang}.txt", shown(attachment))


def shown(attachment: dict[str, Any]) -> str:
    """An attachment's every part, as a text to read."""
    assert attachment.keys() <= {
        "title",
        "color",
        "fallback",
        "text",
        "actions",
        "mrkdwn_in",
        "footer",
        "callback_id",
    }
    lines = [f"{part}: {attachment[part]}" for part in ("title", "color", "fallback")]
    links = [f"[{text}] {url}" for text, url in buttons(attachment).items()]
    return "\n".join([*lines, "", attachment["text"], "", *links, ""])


def compare(committed: Path, text: str) -> None:
    """Fail where a text isn't the one in the file; write it where that is asked for."""
    if os.environ.get(WRITE):
        committed.write_text(text)
    lines = difflib.unified_diff(
        committed.read_text().splitlines(), text.splitlines(), str(committed), "the message", lineterm="", n=1
    )
    difference = "\n".join(lines)
    assert not difference, (
        f"{difference}\n\nIf that is what you meant: {WRITE}=1 .venv/bin/pytest tests/alerts/test_slack.py,"
        " then read the difference once more in git diff."
    )


@live
def test_what_slack_test_sends_is_what_alertmanager_makes(
    lang: str, spoken: Path, alertmanager: Start, webhook: Webhook
) -> None:
    alertmanager(spoken).post(alert("example"))
    text = json.dumps(webhook.payload(), indent=1, ensure_ascii=False) + "\n"
    compare(EXAMPLES / f"slack_{lang}.json", text)


# --- Two languages, one content


def defined(lang: str) -> list[str]:
    """The parts a language's file defines."""
    text = (SHIPPED / f"languages/{lang}.tmpl").read_text()
    return re.findall(r'{{-? *define "([^"]+)"', text)


def test_both_languages_have_the_very_same_parts_and_slack_tmpl_has_no_word() -> None:
    assert defined("en") == defined("ko")
    assert len(defined("en")) == len(set(defined("en")))
    text = (SHIPPED / "templates/slack.tmpl").read_text()
    assert re.search("[가-힣]", text) is None
    outside = re.sub(r"{{.*?}}|#[0-9a-f]{6}", "", text, flags=re.DOTALL)
    assert set(re.findall("[A-Za-z_]+", outside)) == {"date", "date_short_pretty", "time"}


def test_every_part_that_is_used_is_there_and_every_one_there_is_used() -> None:
    files = [*SHIPPED.glob("templates/*.tmpl"), SHIPPED / "languages/en.tmpl", SHIPPED / "languages/ko.tmpl"]
    texts = [path.read_text() for path in files]
    used = {
        name
        for text in [*texts, variants.SHIPPED.read_text()]
        for name in re.findall(r'template "([^"]+)"', text)
    }
    assert used == {name for text in texts for name in re.findall(r'define "([^"]+)"', text)}


def test_each_field_finds_the_lead_with_the_same_lines() -> None:
    text = (SHIPPED / "templates/slack.tmpl").read_text()
    finding = re.findall(r"  {{- \$lead := .*?{{ end }}{{ end }}{{ end -}}\n", text, flags=re.DOTALL)
    assert len(finding) == text.count("$lead :=")
    assert len(set(finding)) == 1


@pytest.mark.parametrize("case", CASES)
def test_both_languages_tell_the_same_values_lines_signs_and_addresses(case: str) -> None:
    english, korean = (
        re.sub(r"\|[^>]*UTC>", ">", (SNAPSHOTS / f"{case}.{lang}.txt").read_text()).splitlines()
        for lang in LANGUAGES
    )
    assert list(map(signs, english)) == list(map(signs, korean))
    if case != "50":  # those are in Korean already, as somebody else's
        assert not re.search("[가-힣]", "".join(english))
        assert re.search("[가-힣]", "".join(korean))


def signs(line: str) -> list[str]:
    """What isn't words in a line: numbers with their units, addresses, markup and emoji."""
    found = re.findall(r"https?://\S+|\d+(?:\.\d+)?(?:MiB|s(?![a-z]))?|`[^`]*`|<[^>]*>|[🔴🟠🔵✅*\[\]]", line)
    return sorted(found)


# --- What depends on where it runs, and on who else's alerts come


@live
def test_the_buttons_lead_where_a_phone_can_go(
    shipped: Path, alertmanager: Start, webhook: Webhook, tmp_path: Path
) -> None:
    shutil.copytree(SHIPPED / "templates", tmp_path / "templates")
    template = tmp_path / "templates" / "grafana.tmpl"
    empty = '$grafana := ""'
    assert empty in template.read_text()
    template.write_text(template.read_text().replace(empty, '$grafana := "https://grafana.example.org"'))
    config = yaml.safe_load(shipped.read_text())
    languages = str(SHIPPED / "languages/en.tmpl")
    shipped.write_text(
        yaml.safe_dump(config | {"templates": [str(tmp_path / "templates/*.tmpl"), languages]})
    )
    running = alertmanager(shipped, external_url="https://alerts.example.org")

    running.post(alert("oom", app="my shop+2"))
    links = buttons(webhook.next())
    assert list(links) == ["Dashboard", "Runbook", "Query", "Silence"]
    dashboard = parse_qs(urlsplit(links["Dashboard"]).query)
    # The hour before the alert, to now.
    assert dashboard["from"] == ["1793469845000"]
    assert dashboard["to"] == ["now"]
    assert dashboard["var-instance"] == ["web-1"]
    assert links["Query"] == STORY["oom"]["generatorURL"]
    address, _, silence = links["Silence"].partition("?filter=")
    assert address == "https://alerts.example.org/#/silences/new"
    assert unquote(silence) == '{alertname="WorkerOomKilled",instance="web-1",app="my shop+2"}'

    running.post(alert("oom", OVER, app="my shop+2"))
    links = buttons(webhook.next("[RESOLVED]"))
    assert list(links) == ["Dashboard", "Runbook", "Query"]
    assert parse_qs(urlsplit(links["Dashboard"]).query)["to"] == [
        "1793478405000"
    ]  # ten minutes after its end


NOWHERE = (
    "",
    "http://localhost:9090/graph",
    "https://LOCALHOST/graph",
    "http://127.0.0.1:9090/graph",
    "http://127.0.1.1/graph",
    "http://[::1]:9090/graph",
    "http://0.0.0.0:9090",
    "http://5c9de2a13f01:9090/graph",
    "http://prometheus/graph",
    "https://prometheus.example.org/graph?g0.expr=" + "x" * 3000,
    "javascript:alert(1)",
    "/graph",
)
SOMEWHERE = (
    "https://prometheus/graph",
    "http://10.0.0.7:9090/graph",
    "http://prometheus.example.org/",
    "http://web-1.local:9090",
)


@live
def test_an_address_that_means_nothing_on_a_phone_makes_no_button(
    shipped: Path, alertmanager: Start, webhook: Webhook
) -> None:
    running = alertmanager(shipped, external_url="http://localhost:9093")
    addresses = {f"host-{place}": address for place, address in enumerate([*NOWHERE, *SOMEWHERE])}
    for host, address in addresses.items():
        # In an annotation, as Alertmanager takes no generatorURL that is no address.
        changed = alert("bare", instance=host) | {"annotations": {"runbook_url": address}}
        running.post(changed)
    seen: dict[str, dict[str, str]] = {}
    while len(seen) < len(addresses):
        message = webhook.next()
        seen[message["title"].rpartition(" ")[2]] = buttons(message)
    assert seen == {
        host: {"Runbook": address} if address in SOMEWHERE else {} for host, address in addresses.items()
    }


@live
def test_the_newest_of_the_worst_leads_whoever_wrote_it(
    shipped: Path, alertmanager: Start, webhook: Webhook
) -> None:
    later = OPEN | {"startsAt": "2026-10-31T19:09:05Z"}
    running = alertmanager(shipped)
    running.post(
        alert("theirs"), alert("oom", later, cause="2"), alert("oom", cause="1"), alert("oom", cause="3")
    )
    message = webhook.next("[FIRING:4]")
    assert message["title"] == "[FIRING:4] critical · WorkerOomKilled · shop@web-1"
    assert message["text"].splitlines()[1].endswith("|Oct 31 19:09 UTC>.")
    assert [line[0] for line in message["text"].splitlines()[5:]] == ["🔴", "🔴", "🔵"]
    running.post(
        *(
            alert("oom", OVER | {"startsAt": time}, cause=cause)
            for cause, time in (("1", OPEN["startsAt"]), ("2", later["startsAt"]), ("3", OPEN["startsAt"]))
        )
    )
    message = webhook.next("[FIRING:1]")
    # Still firing, and of no severity we know: not the resolved one beside it.
    assert message["title"] == "[FIRING:1] page · &lt;Their&gt; &amp; our alert · shop@web-1"
    assert message["color"] == "#36c5f0"


@live
def test_what_a_worker_was_doing_is_told_in_korean_where_the_words_are_ours(
    shipped: Path, alertmanager: Start, webhook: Webhook
) -> None:
    shipped.write_text(shipped.read_text().replace("languages/en.tmpl", "languages/ko.tmpl"))
    running = alertmanager(shipped)
    told = {
        "a request": "요청 1건",
        "a DELETE request": "DELETE 요청",
        "3 requests": "요청 3건",
        "totals (shop/reports.py:40)": "totals (shop/reports.py:40)",
    }
    for doing, korean in told.items():
        made = alert("oom", instance=f"host-{len(doing)}")
        running.post(made | {"annotations": made["annotations"] | {"doing": doing}})
        assert webhook.next()["text"].splitlines()[2] == f"*마지막 워커가 처리하던 작업:* {korean}"


@live
def test_a_webhook_that_is_busy_gets_the_message_later(
    shipped: Path, alertmanager: Start, webhook: Webhook
) -> None:
    webhook.answers.append(slack.Answer(503, "service_unavailable"))
    alertmanager(shipped).post(alert("oom"))
    assert webhook.next()["title"] == "[FIRING:1] critical · WorkerOomKilled · shop@web-1"


# --- The rules' own alerts


RULE_TESTS = sorted(ROOT.glob("tests/alerts/*.test.yml"))


def fired(rule_test: Path) -> list[dict[str, Any]]:
    """Return what a rule's own test has it make, as Prometheus would send it."""
    return [
        {
            **OPEN,
            "labels": {"alertname": expected["alertname"], "instance": "web-1"} | made["exp_labels"],
            "annotations": made["exp_annotations"],
        }
        for case in yaml.safe_load(rule_test.read_text())["tests"]
        for expected in case.get("alert_rule_test", [])
        for made in expected["exp_alerts"]
        if "exp_annotations" in made
    ]


@pytest.mark.parametrize("rule_test", RULE_TESTS, ids=lambda path: path.stem)
def test_no_rule_says_more_than_the_message_has_room_for(rule_test: Path) -> None:
    room = {"summary": 150, "description": 300, "impact": 150, "action": 150}
    for made in fired(rule_test):
        annotations = made["annotations"]
        told = {key: room[key.removesuffix("_ko")] for key in annotations if key.removesuffix("_ko") in room}
        assert {key for key, most in told.items() if len(annotations[key]) > most} == set()


@live
def test_each_alert_of_the_rules_makes_a_message_that_says_all_of_it(
    lang: str, spoken: Path, alertmanager: Start, webhook: Webhook
) -> None:
    # Each on a host of its own: a message for each, and none silences another.
    alerts = {path.name.removesuffix(".test.yml"): fired(path)[0] for path in RULE_TESTS}
    del alerts["Watchdog"]  # goes elsewhere
    for host, made in alerts.items():
        made["labels"] |= {"instance": host}
    running = alertmanager(spoken)
    running.post(*alerts.values())
    waiting = set(alerts)
    while waiting:
        message = webhook.next()
        host = message["title"].rpartition("@")[2].rpartition(" ")[2]
        waiting.discard(host)
        said = alerts[host]["annotations"]
        ending = "_ko" if lang == "ko" else ""
        for part in ("summary", "description", "impact"):
            text = said.get(part + ending) or said[part]
            for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
                text = text.replace(sign, entity)
            assert text in message["text"]
    assert not webhook.refused
