"""One catalogue, one direction: what alerts and dashboards ask for exists, and nothing is published in vain.

Held over every PromQL expression of alerts/ (the queries inside annotations too) and dashboards/json/, and
over every import in exporter/ and dashboards/.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from floodmark import catalogue
from floodmark.metric import Kind, Metric
from tests.support.promql import grouping_labels, selectors
from tests.support.promql import known as known_series

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
RULES = [
    rule
    for path in sorted(ROOT.glob("alerts/*.rules.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
DASHBOARDS = {
    dashboard["uid"]: dashboard
    for dashboard in (json.loads(path.read_text()) for path in sorted(ROOT.glob("dashboards/json/*.json")))
}


class Query(NamedTuple):
    """A PromQL expression; a dashboard's variable lists the values of a label of it, and shows nothing."""

    where: str
    expr: str
    variable_of: str = ""


def in_rules() -> Iterator[Query]:
    """Each rule's expression and the queries its annotations run."""
    for rule in RULES:
        name = rule.get("alert") or rule["record"]
        yield Query(name, rule["expr"])
        for text in rule.get("annotations", {}).values():
            # {{ with printf "up{instance=%q} * %f" $labels.instance $value | query }}, {{ query "up" }}
            for given in re.findall(r'(?:printf|query) ("(?:[^"\\]|\\.)*")', text):
                format_ = ast.literal_eval(given)
                expr = format_.replace("%q", '"x"').replace("%f", "1")
                if "%" not in expr:  # else it formats a number for people
                    yield Query(f"{name}'s annotations", expr)


def in_dashboards() -> Iterator[Query]:
    """Each target of a panel or annotation, and each variable's label_values(selector, label)."""

    def walk(where: str, node: object) -> Iterator[Query]:
        if isinstance(node, dict):
            where = f"{where}: {node['title']}" if "title" in node else where
            if isinstance(node.get("expr"), str):
                yield Query(where, node["expr"])
            for child in node.values():
                yield from walk(where, child)
        elif isinstance(node, list):
            for child in node:
                yield from walk(where, child)

    for uid, dashboard in DASHBOARDS.items():
        yield from walk(uid, dashboard)
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"])
                assert asked, variable["query"]
                yield Query(f"{uid}: ${variable['name']}", asked[1], asked[2])


def known() -> dict[str, frozenset[str]]:
    """Every series that may be asked for, by name, with its labels."""
    series = known_series()
    for rule in RULES:
        if "record" in rule:
            asked = [series[selector.name] for selector in selectors(rule["expr"])]
            series[rule["record"]] = frozenset(grouping_labels(rule["expr"])) or frozenset().union(*asked)
    return series


SERIES = known()
QUERIES = [*in_rules(), *in_dashboards()]
USED = {s.name for query in QUERIES if not query.variable_of for s in selectors(query.expr)}


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.where)
def test_a_query_names_only_series_and_labels_that_exist(query: Query) -> None:
    asked = selectors(query.expr)
    assert {selector.name for selector in asked} - SERIES.keys() == set()
    for selector in asked:
        assert selector.labels - SERIES[selector.name] == set(), selector.name
    has = frozenset().union(*(SERIES[selector.name] for selector in asked))
    assert grouping_labels(query.expr) - has == set()
    assert not query.variable_of or query.variable_of in has


def test_no_bucket_is_asked_for_by_an_integer_that_prometheus_3_writes_otherwise() -> None:
    """Its `le` is "1.0" where that of 2.x is "1"."""
    assert [query.where for query in QUERIES if re.search(r'\ble="\d+(\.0)?"', query.expr)] == []


def names(row: Metric) -> set[str]:
    """Return the names under which a row's series can be asked for."""
    if row.kind is Kind.HISTOGRAM:
        return {f"{row.name}_{part}" for part in ("bucket", "sum", "count")}
    return {row.name}


@pytest.mark.parametrize("row", catalogue.ALL, ids=lambda row: row.name)
def test_a_metric_is_shown_or_alerted_on_or_says_why_not(row: Metric) -> None:
    used = bool(names(row) & USED)
    if row.unshown:
        assert not used, f"{row.name} is used: unshown ({row.unshown!r}) is no longer true"
    else:
        assert used, f"no panel and no alert uses {row.name}: add one, or say why not in unshown"


def test_a_metric_is_a_row_once() -> None:
    listed = [row.name for row in catalogue.ALL]
    assert sorted(listed) == sorted(set(listed))


def test_every_threshold_is_compared_with_by_a_rule() -> None:
    recorded = {rule["record"] for rule in RULES if rule.get("record", "").startswith("floodmark:threshold:")}
    # ThresholdMissing only asks whether each is there.
    comparing = [rule for rule in ALERTS if rule["alert"] != "ThresholdMissing"]
    compared = {s.name for rule in comparing for s in selectors(rule["expr"]) if "threshold" in s.name}
    assert compared == recorded


TOLD = ("summary", "description", "impact")  # in each language; a command needs none


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_all_a_person_needs_in_both_languages(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["labels"].get("kind", "event") == "event"
    assert rule["annotations"].keys() - {"doing"} == {  # what a worker was doing, for those that one died of
        *TOLD,
        *(f"{part}_ko" for part in TOLD),
        *("action", "runbook_url", "dashboard_url"),
    }


def said(text: str) -> tuple[list[str], list[str]]:
    """Return what a text fills in (queries, labels, how values are written) and the numbers in it."""
    actions = re.findall(r"{{-?\s*(.*?)\s*-?}}", text, re.DOTALL)
    words = [
        re.sub(r"\s+", " ", action)
        for action in actions
        # An English plural, a branch and its end say nothing by themselves.
        if not re.match(r"if (ge|gt|lt|le|eq|ne) \$value|else|end", action)
    ]
    return sorted(words), sorted(re.findall(r"\d+(?:\.\d+)?", re.sub(r"{{.*?}}", "", text, flags=re.DOTALL)))


@pytest.mark.parametrize("part", TOLD)
@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_both_languages_say_the_same_values_and_only_one_is_korean(rule: dict[str, Any], part: str) -> None:
    english, korean = (rule["annotations"][name] for name in (part, f"{part}_ko"))
    assert said(korean) == said(english)
    assert re.search("[가-힣]", korean)
    assert not re.search("[가-힣]", english)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_the_first_command_is_one_a_shell_takes(rule: dict[str, Any]) -> None:
    assert shell_refuses(rule["annotations"]["action"]) == ""


def shell_refuses(command: str) -> str:
    """Return what bash says of a command's syntax, without running it."""
    return subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, check=False).stderr


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alerts_runbook_is_where_its_address_says_and_has_the_four_parts(rule: dict[str, Any]) -> None:
    home = "https://github.com/floodmark/floodmark/blob/main/"
    runbook = f"alerts/runbooks/{rule['alert']}.md"
    assert rule["annotations"]["runbook_url"] == home + runbook
    text = (ROOT / runbook).read_text()
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Meaning", "Impact", "Diagnosis", "Mitigation"]
    # Blocks of a language other than the shell's say so.
    blocks = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    commands = [block for language, block in blocks if not language]
    assert commands, "nothing to type"
    assert [command for command in commands if shell_refuses(command)] == []


def spelt_out(text: str) -> str:
    """Return a text with the alternatives of its patterns written out: a_(b|c) as a_b|a_c."""
    while group := re.search(r"(\w*)\(([^()]*\|[^()]*)\)(\w*)", text):
        before, parts, after = group.groups()
        text = text.replace(group[0], "|".join(f"{before}{part}{after}" for part in parts.split("|")))
    return text


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_a_runbook_and_the_first_command_name_only_metrics_and_thresholds_that_exist(
    rule: dict[str, Any],
) -> None:
    text = (ROOT / f"alerts/runbooks/{rule['alert']}.md").read_text()
    # Not pg_*: in runbooks these are PostgreSQL's own views and functions.
    ours = "alertmanager|cloud|floodmark|gunicorn|hikaricp|jvm|node|prometheus|proxy|python"
    named = re.findall(rf"(?<![\w:])(?:{ours})_\w*", spelt_out(f"{text}\n{rule['annotations']['action']}"))
    # A command may look for several by how they begin.
    assert [name for name in named if not any(series.startswith(name) for series in SERIES)] == []
    thresholds = re.findall(r"floodmark:threshold:([a-z]\w*)", text) + re.findall(r"--set ([a-z]\w*)=", text)
    assert {f"floodmark:threshold:{name}" for name in thresholds} - SERIES.keys() == set()


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alerts_dashboard_exists_and_has_the_variables_its_address_fills_in(rule: dict[str, Any]) -> None:
    address = urlsplit(rule["annotations"]["dashboard_url"])
    dashboard = DASHBOARDS[address.path.removeprefix("/d/")]
    variables = {f"var-{variable['name']}" for variable in dashboard["templating"]["list"]}
    # In the template `&var-app=` may stand behind an {{ if }}; a query string for all that is what is asked.
    assert parse_qs(re.sub(r"{{.*?}}", "x", address.query, flags=re.DOTALL)).keys() <= variables


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_has_a_rule_test_that_sees_it_fire_and_stay_quiet(rule: dict[str, Any]) -> None:
    name = rule["alert"]
    tests = yaml.safe_load((ROOT / f"tests/alerts/{name}.test.yml").read_text())["tests"]
    fires = [case for test in tests for case in test.get("alert_rule_test", []) if case["exp_alerts"]]
    assert {case["alertname"] for case in fires} == {name}
    quiet = [
        case["expr"]
        for test in tests
        for case in test.get("promql_expr_test", [])
        if case["exp_samples"] == [{"value": 0}]
    ]
    assert any(f'alertname="{name}"' in expr for expr in quiet)


def counts(expr: str) -> bool:
    """Return whether an expression rests on how a counter grows, be it through a recorded series."""
    recorded = {rule["record"]: rule["expr"] for rule in RULES if "record" in rule}
    return bool(re.search(r"\b(rate|increase)\(", expr)) or any(
        counts(recorded[selector.name]) for selector in selectors(expr) if selector.name in recorded
    )


@pytest.mark.parametrize(
    "rule", [rule for rule in ALERTS if counts(rule["expr"])], ids=lambda rule: rule["alert"]
)
def test_an_alert_on_counters_is_tested_over_a_reset_and_on_a_newborn_series(rule: dict[str, Any]) -> None:
    tests = yaml.safe_load((ROOT / f"tests/alerts/{rule['alert']}.test.yml").read_text())["tests"]
    told = " ".join(test["name"] for test in tests)
    assert "reset" in told
    assert "newborn" in told


def test_no_runbook_or_rule_test_is_left_over_from_an_alert_that_is_gone() -> None:
    alerts = {rule["alert"] for rule in ALERTS}
    assert {path.stem for path in ROOT.glob("alerts/runbooks/*.md")} == alerts
    assert {path.name.removesuffix(".test.yml") for path in ROOT.glob("tests/alerts/*.test.yml")} == alerts


def test_the_generated_pages_say_what_the_catalogue_and_the_rules_say() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "docs.generate", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# --- Layers: metric <- catalogue <- collectors <- scrape, and sources beside them


def imported(path: Path) -> set[str]:
    """Return every module and name a file imports anywhere: x and x.y for `from x import y`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not (node.level and "exporter" in path.parts), f"{path}: relative import"
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


PACKAGE = ROOT / "exporter" / "floodmark"
CATALOGUE, METRIC, COLLECTORS, SCRAPE = (
    f"floodmark.{layer}" for layer in ("catalogue", "metric", "collectors", "scrape")
)
OUTSIDE = {f"floodmark.{layer}" for layer in ("exposition", "server", "commands", "cli")}


@pytest.mark.parametrize(
    ("layer", "banned"),
    [
        ("metric.py", {"floodmark"}),
        ("catalogue.py", {COLLECTORS, SCRAPE, "floodmark.sources", "floodmark.gunicorn"} | OUTSIDE),
        ("sources/**/*.py", {METRIC, CATALOGUE, COLLECTORS, SCRAPE} | OUTSIDE),
        ("gunicorn/**/*.py", {METRIC, CATALOGUE, COLLECTORS, SCRAPE} | OUTSIDE),
        ("collectors/**/*.py", {SCRAPE} | OUTSIDE),
        ("scrape.py", OUTSIDE),
    ],
)
def test_a_layer_imports_none_above_it(layer: str, banned: set[str]) -> None:
    files = sorted(PACKAGE.glob(layer))
    assert files
    broken = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in imported(path)
        if any(name == ban or name.startswith(f"{ban}.") for ban in banned)
    }
    assert broken == set()


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        # The second is there for that library's own file format: nothing to exchange.
        (
            "prometheus_client",
            {"exporter/floodmark/exposition.py", "exporter/floodmark/sources/multiproc.py"},
        ),
        ("grafanalib", {"dashboards/panels.py"}),
        ("requests", {"exporter/floodmark/grafana.py"}),
    ],
)
def test_a_library_that_may_be_exchanged_one_day_has_one_home(library: str, homes: set[str]) -> None:
    files = [*ROOT.glob("exporter/**/*.py"), *ROOT.glob("dashboards/**/*.py")]
    users = {
        str(path.relative_to(ROOT))
        for path in files
        if any(name.split(".")[0] == library for name in imported(path))
    }
    assert users == homes


def test_serving_loads_nothing_of_the_demo_the_dashboards_or_the_tests() -> None:
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, floodmark.cli, floodmark.commands.serve; print(*sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    heavy = {
        "psutil",
        "requests",
        "gunicorn",
        "grafanalib",
        "promql_parser",
        "pytest",
        "dashboards",
        "deploy",
    }
    assert heavy & {name.split(".")[0] for name in loaded} == set()
