"""Each alert's rule test (<Alert>.test.yml) and the rules themselves, by the real promtool."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from dashboards import outside
from floodmark.gunicorn import verdict
from tests.alerts.conftest import ALERTS, ROOT
from tests.support.promql import selectors, series_of

if TYPE_CHECKING:
    from collections.abc import Callable

    Promtool = Callable[..., str]


@pytest.fixture
def promtool(program: Callable[[str], Path]) -> Promtool:
    """Return a function that runs promtool, which must find nothing wrong."""

    def run(*arguments: str | Path) -> str:
        command = [program("promtool"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("path", sorted(ROOT.glob("tests/alerts/*.test.yml")), ids=lambda path: path.stem)
def test_the_alert_fires_and_stays_quiet_as_its_file_says(path: Path, promtool: Promtool) -> None:
    promtool("test", "rules", path)


def test_promtool_finds_nothing_to_complain_about_in_any_rule(promtool: Promtool) -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", *sorted(ALERTS.glob("*.rules.yml")))


def test_prometheus_accepts_its_configuration_with_our_rules(promtool: Promtool, tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    for path in ALERTS.glob("*.rules.yml"):
        shutil.copy(path, rules)
    shipped = (ROOT / "deploy/prometheus/prometheus.yml").read_text()
    config = tmp_path / "prometheus.yml"
    config.write_text(shipped.replace("/etc/prometheus/rules", str(rules)))
    said = promtool("check", "config", config)
    assert f"{len(list(rules.iterdir()))} rule files found" in said


@pytest.mark.parametrize(
    ("target", "instance"),
    [
        ({"targets": ["web-1.example.org:9717"]}, "web-1.example.org"),
        ({"targets": ["[2001:db8::7]:9717"]}, "[2001:db8::7]"),
        ({"targets": ["10.0.0.7:9717"], "labels": {"instance": "web-1"}}, "web-1"),
    ],
)
def test_an_instance_is_the_host_or_the_name_given_to_it(
    target: dict[str, Any], instance: str, promtool: Promtool, tmp_path: Path
) -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    config["scrape_configs"][0]["static_configs"] = [target]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    # The timeout is how long it goes on looking for targets; static ones are there at once.
    said = promtool("check", "service-discovery", "--timeout=1s", tmp_path / "prometheus.yml", "floodmark")
    assert [found["labels"]["instance"] for found in json.loads(said)] == [instance]


def rules() -> list[dict[str, Any]]:
    """Return every rule."""
    return [
        rule
        for path in sorted(ALERTS.glob("*.rules.yml"))
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]


def compared() -> list[tuple[str, str]]:
    """Each threshold with each alert whose rule compares with it."""
    return [
        (threshold, rule["alert"])
        for rule in rules()
        if "alert" in rule
        for threshold in sorted(set(re.findall(r"scalar\(floodmark:threshold:(\w+)\)", rule["expr"])))
    ]


@pytest.mark.parametrize(("threshold", "test"), compared())
def test_a_threshold_out_of_reach_in_its_one_place_silences_the_alert(
    threshold: str, test: str, program: Callable[[str], Path], tmp_path: Path
) -> None:
    """A lower bound is out of reach far below, an upper one far above: one of the two silences it."""
    rule_test = yaml.safe_load((ROOT / f"tests/alerts/{test}.test.yml").read_text())
    names = [Path(name).name for name in rule_test["rule_files"]]
    firing = rule_test | {"rule_files": names, "tests": rule_test["tests"][:1]}
    running = []
    for value in ("1e12", "-1e12"):
        folder = tmp_path / value
        folder.mkdir()
        (folder / "firing.test.yml").write_text(yaml.safe_dump(firing))
        for name in names:
            record = rf"(record: floodmark:threshold:{threshold}\n +expr: ).*"
            (folder / name).write_text(re.sub(record, rf"\1vector({value})", (ALERTS / name).read_text()))
        command: list[str | Path] = [program("promtool"), "test", "rules", folder / "firing.test.yml"]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    said = [process.communicate()[0] for process in running]
    assert any(re.search(r"got:\s*\[\]", words) for words in said), said[0]


THRESHOLDS = [
    rule["record"].removeprefix("floodmark:threshold:")
    for rule in rules()
    if rule.get("record", "").startswith("floodmark:threshold:")
]


def test_each_threshold_is_missed_where_it_is_missing() -> None:
    """absent() has no wildcard; on failure, paste what is printed."""
    assert len(set(THRESHOLDS)) == len(THRESHOLDS), "a threshold is recorded twice"
    (missing,) = [rule["expr"] for rule in rules() if rule.get("alert") == "ThresholdMissing"]
    wanted = "\n          or ".join(
        f'label_replace(absent(floodmark:threshold:{name}), "threshold", "{name}", "", "")'
        for name in THRESHOLDS
    )
    assert missing.split() == wanted.split(), (
        f"alerts/itself.rules.yml, expr of ThresholdMissing:\n          {wanted}"
    )
    given = yaml.safe_load((ROOT / "tests/alerts/ThresholdMissing.test.yml").read_text())["tests"]
    first, *others = THRESHOLDS
    lines = "\n".join(f"      - {{series: floodmark:threshold:{name}, values: 1x40}}" for name in others)
    for test, names in zip(given, (others, THRESHOLDS), strict=True):
        series = [each["series"].removeprefix("floodmark:threshold:") for each in test["input_series"]]
        assert series == names, (
            f"ThresholdMissing.test.yml, input_series (quiet test: {first} before):\n{lines}"
        )


def test_no_cause_of_a_workers_end_is_silent_unless_it_is_wanted() -> None:
    told = {
        cause
        for rule in rules()
        if "alert" in rule
        and rule["alert"] not in {"WorkerCrashLoop", "RecycleStorm"}  # they tell no single one
        for causes in re.findall(r'gunicorn_worker_exits_total{cause=~?"([\w|]+)"}', rule["expr"])
        for cause in causes.split("|")
    }
    # Where gunicorn's log can't be read each recycle is `unknown`; floodmark check and ExporterBlind say so.
    assert told == set(verdict.CAUSES) - verdict.WANTED - {"unknown"}


def test_prometheus_keeps_of_itself_and_of_alertmanager_what_the_rules_ask_for_and_no_more() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    judged = {
        scrape["job_name"]: scrape["metric_relabel_configs"]
        for scrape in config["scrape_configs"]
        if scrape["job_name"] in {"prometheus", "alertmanager"}
    }
    ((keep,), (same,)) = (judged["prometheus"], judged["alertmanager"])
    assert keep == same
    judges = series_of(row for row in outside.ALL if row.collector == "judges")
    assert [name for name in judges if not re.fullmatch(keep["regex"], name)] == []
    asked = {selector.name for rule in rules() for selector in selectors(rule["expr"])}
    assert judges.keys() - asked == set()
    # No wildcard: it keeps nothing else.
    assert not re.search(r"[.*+]", keep["regex"])
