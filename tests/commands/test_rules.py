"""`floodmark rules export`: what of a rule changes, what stays, and what becomes of the folder."""

from __future__ import annotations

import ast
import datetime as dt
import math
import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

import promql_parser
import pytest
import yaml

from deploy.demo import servers
from floodmark import export, rules
from floodmark.cli import main
from tests.support.live import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHIPPED = {path.name: path.read_text() for path in sorted((ROOT / "alerts").glob("*.rules.yml"))}

EXAMPLE = """\
# What this file is about.
groups:
  - name: example
    interval: 1m
    rules:
      # Why it is one.
      - record: floodmark:threshold:depth
        expr: vector(1)
      - record: floodmark:threshold:full_ahead_seconds
        expr: vector(24 * 3600)
      - record: disk:depth:rate5m
        expr: "rate(depth{note=\\"5m\\"}[5m])"
      - alert: Deep
        expr: >-
          disk:depth:rate5m > scalar(floodmark:threshold:depth)
          and avg_over_time(depth{a=~"1h|[5m]"}[1d:30s] offset 1h30m) * 60 > 0
          and present_over_time(disk:depth:rate5m{b='1h'}[1h]) > 0x5d
        for: 10m
        keep_firing_for: 6h
        labels:
          severity: warning
          after: 10m
        annotations:
          summary: Deep for 10m.
          summary_ko: 10분 동안 깊습니다.
          # About the next one.
          description: >-
            {{ $value | printf "%5d" }} in [5m] {{ with printf
            "x{a=%q,b=\\"[5m]\\"}[1h:] / %02d * 6 * 3600" $value 5 | query }}{{ . }}{{ end }}
            {{- query `y[2m]` }} 5m
          description_ko: "값 {{ query \\"y[2m]\\" }}"
          action: sleep 5m
"""


def exported(text: str, language: str = "en", faster: int = 1, **values: str) -> str:
    return rules.export(text, values, language, faster)[0]


def changed(before: str, after: str) -> list[tuple[str, str]]:
    """Return the lines that differ, of two texts with as many."""
    pairs = zip(before.splitlines(), after.splitlines(), strict=True)
    return [(old.strip(), new.strip()) for old, new in pairs if old != new]


def without_korean(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if "_ko:" not in line)


def test_with_nothing_asked_for_only_the_other_language_is_left_out() -> None:
    assert exported(EXAMPLE) == without_korean(EXAMPLE)


def test_a_value_is_set_where_it_stands_and_says_what_it_was() -> None:
    assert changed(without_korean(EXAMPLE), exported(EXAMPLE, depth="2 * 3")) == [
        ("expr: vector(1)", "expr: vector(2 * 3)  # was 1")
    ]


def test_in_korean_the_plain_names_say_it_in_korean_and_comments_stay() -> None:
    korean = exported(EXAMPLE, "ko")
    (*_, deep) = yaml.safe_load(korean)["groups"][0]["rules"]
    assert deep["annotations"] == {
        "summary": "10분 동안 깊습니다.",
        "description": '값 {{ query "y[2m]" }}',
        "action": "sleep 5m",
    }
    assert korean.count("#") == EXAMPLE.count("#")


def test_a_text_that_is_only_there_in_english_stays_english() -> None:
    assert exported(without_korean(EXAMPLE), "ko") == without_korean(EXAMPLE)


def test_faster_divides_durations_and_stretches_of_seconds_and_nothing_else() -> None:
    assert changed(without_korean(EXAMPLE), exported(EXAMPLE, faster=60)) == [
        ("interval: 1m", "interval: 1000ms"),
        ("expr: vector(24 * 3600)", "expr: vector((24 * 3600) / 60)  # was 24 * 3600"),
        (r'expr: "rate(depth{note=\"5m\"}[5m])"', r'expr: "rate(depth{note=\"5m\"}[5000ms])"'),
        (
            'and avg_over_time(depth{a=~"1h|[5m]"}[1d:30s] offset 1h30m) * 60 > 0',
            'and avg_over_time(depth{a=~"1h|[5m]"}[1440000ms:500ms] offset 90000ms) * (60 / 60) > 0',
        ),
        (
            "and present_over_time(disk:depth:rate5m{b='1h'}[1h]) > 0x5d",
            "and present_over_time(disk:depth:rate5m{b='1h'}[60000ms]) > 0x5d",
        ),
        ("for: 10m", "for: 10000ms"),
        ("keep_firing_for: 6h", "keep_firing_for: 360000ms"),
        (
            '"x{a=%q,b=\\"[5m]\\"}[1h:] / %02d * 6 * 3600" $value 5 | query }}{{ . }}{{ end }}',
            '"x{a=%q,b=\\"[5m]\\"}[60000ms:] / %02d * 6 * (3600 / 60)" $value 5 | query }}{{ . }}{{ end }}',
        ),
        ("{{- query `y[2m]` }} 5m", "{{- query `y[2000ms]` }} 5m"),
    ]


def test_in_korean_the_queries_of_the_korean_texts_get_faster() -> None:
    assert (
        '{{ query "y[200ms]" }}'
        in yaml.safe_load(exported(EXAMPLE, "ko", 600))["groups"][0]["rules"][-1]["annotations"][
            "description"
        ]
    )


def test_a_stretch_ahead_that_is_set_is_in_true_seconds_and_gets_faster() -> None:
    assert "expr: vector((7200) / 60)  # was 24 * 3600" in exported(
        EXAMPLE, faster=60, full_ahead_seconds="7200"
    )


def test_texts_that_two_alerts_share_by_an_alias_are_edited_once() -> None:
    shared = EXAMPLE.replace("annotations:", "annotations: &said")
    shared += "      - {alert: Deeper, expr: 'depth > 120', annotations: *said}\n"
    *_, deep, deeper = yaml.safe_load(exported(shared, "ko", 60))["groups"][0]["rules"]
    assert deep["annotations"] == deeper["annotations"]
    assert deep["annotations"]["description"] == '값 {{ query "y[2000ms]" }}'
    assert deeper["expr"] == "depth > (120 / 60)"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", 2),
        ("0.010", 0.01),
        ("32 * 1024 * 1024", 1 << 25),
        ("-(1 + 2) / 4", -0.75),
        ("1e-3", 0.001),
        ("+Inf", float("inf")),
    ],
)
def test_a_value_is_a_number_or_arithmetic(text: str, value: float) -> None:
    assert rules.number(text) == value


@pytest.mark.parametrize(
    "text",
    [
        *("", "two", "1 2", "1,5", "2)", "()", "1/0", "2 ** 3", "7 // 2", "NaN", "Inf - Inf", "1_000"),
        *("0x10", "1e400", "1\n2", "vector(1)", "2 # x", "2) or vector(3", "(" * 1000),
    ],
)
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        rules.number(text)


# --- All that is shipped


def rules_of(text: str) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def span(duration: str | None) -> float:
    """Return a duration in milliseconds, none as 0."""
    if duration is None:
        return 0
    # The library's parse_duration takes 250ms for 250 microseconds.
    parsed: Any = promql_parser.parse(f"up[{duration}]")
    return float(parsed.range.total_seconds() * 1000)


def tree(node: object, faster: int = 1) -> object:
    """Return an expression as plain values; its durations, and seconds of a minute or more, divided."""
    value: object = str(node)
    match node:
        case promql_parser.NumberLiteral(val=number):
            value = number / faster if number >= 60 and number % 60 == 0 else number
        case promql_parser.ParenExpr(
            expr=promql_parser.BinaryExpr(
                lhs=promql_parser.NumberLiteral(val=left), rhs=promql_parser.NumberLiteral(val=right)
            )
        ):
            value = left / right
        case promql_parser.Function(name=name):
            value = name
        case promql_parser.Expr():
            parts = sorted({part for part in dir(node) if part[0] != "_"} - {"parse", "prettify"})
            value = type(node).__name__, [(part, tree(getattr(node, part), faster)) for part in parts]
        case dt.timedelta():
            value = node.total_seconds() * 1000 / faster
            if node < dt.timedelta(seconds=15):  # no window: `offset 1s` is the sample before this one
                value = max(1, math.floor(value))
        case list():
            value = [tree(each, faster) for each in node]
    return value


def queried(rule: dict[str, Any]) -> Iterator[str]:
    """Yield a rule's expression, and what its texts query."""
    yield rule["expr"]
    for text in rule.get("annotations", {}).values():
        for given in re.findall(r'(?:printf|query) ("(?:[^"\\]|\\.)*")', text):
            expr = ast.literal_eval(given).replace("%q", '"x"').replace("%f", "1")
            if "%" not in expr:
                yield expr


def without_other_language(rule: dict[str, Any]) -> dict[str, Any]:
    if "annotations" not in rule:
        return rule
    texts = {name: text for name, text in rule["annotations"].items() if not name.endswith("_ko")}
    return rule | {"annotations": texts}


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("faster", [60, 3])
def test_a_shipped_rule_made_faster_is_the_same_tree_with_other_durations(name: str, faster: int) -> None:
    text = SHIPPED[name]
    before, after = rules_of(text), rules_of(exported(text, faster=faster))
    for old, new in zip(map(without_other_language, before), after, strict=True):
        assert old.keys() == new.keys()
        for key in ("for", "keep_firing_for"):
            assert span(new.get(key)) * faster == span(old.get(key))
        if not old.get("record", "").startswith(rules.THRESHOLD):
            asked = [tree(promql_parser.parse(expr), faster) for expr in queried(old)]
            assert [tree(promql_parser.parse(expr)) for expr in queried(new)] == asked
        said = [re.sub(r"{{.*?}}", "", text, flags=re.DOTALL) for text in old.get("annotations", {}).values()]
        assert [
            re.sub(r"{{.*?}}", "", text, flags=re.DOTALL) for text in new.get("annotations", {}).values()
        ] == said
        assert old.get("labels") == new.get("labels")
    groups = [yaml.safe_load(each)["groups"] for each in (text, exported(text, faster=faster))]
    for slow, fast in zip(*groups, strict=True):
        assert span(fast.get("interval")) * faster == span(slow.get("interval"))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_rule_in_one_language_says_all_it_said_in_it(name: str) -> None:
    both = rules_of(SHIPPED[name])
    assert rules_of(exported(SHIPPED[name])) == list(map(without_other_language, both))
    for rule, korean in zip(both, rules_of(exported(SHIPPED[name], "ko")), strict=True):
        texts = rule.get("annotations", {})
        assert korean.get("annotations", {}) == {
            key: texts.get(f"{key}_ko", text) for key, text in texts.items() if not key.endswith("_ko")
        }


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_rule_writes_stretches_of_time_so_that_they_can_be_divided(name: str) -> None:
    """As durations, or as whole minutes in seconds; no other number may look like a stretch."""
    numbers: list[float] = []

    def note(node: object) -> None:
        if isinstance(node, promql_parser.NumberLiteral):
            numbers.append(node.val)

    for rule in rules_of(SHIPPED[name]):
        if not rule.get("record", "").startswith(rules.THRESHOLD):
            for expr in queried(rule):
                promql_parser.walk(promql_parser.parse(expr), note)
            for text in rule.get("annotations", {}).values():
                assert not re.search(r"printf \"[^\"]*\[[^]\"]*%", text)  # a range that is filled in
    large = {number for number in numbers if 60 <= number < math.inf and number % 60}
    assert large <= {100, 1000, 1024}, "a stretch? Write 1.5 * 60, not 90. A threshold? thresholds.rules.yml"


@pytest.mark.parametrize("flags", [[], ["--lang", "ko"], ["--faster", "60"]], ids=" ".join)
def test_promtool_finds_nothing_to_complain_about_in_what_is_written(
    flags: list[str], tmp_path: Path
) -> None:
    assert main(["rules", "export", str(tmp_path), *flags]) == 0
    try:
        promtool = servers.find("promtool")
    except servers.UnavailableError as error:
        pytest.skip(str(error))
    done = subprocess.run(
        [promtool, "check", "rules", "--lint=all", "--lint-fatal", *tmp_path.iterdir()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# --- The command


@pytest.fixture(autouse=True)
def _no_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLOODMARK_LANG", raising=False)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert main(["rules", "export", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_a_clone_exports_its_own_rules() -> None:
    assert export.shipped("alerts") == ROOT / "alerts"


def test_it_writes_every_file_and_says_what_to_do_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new" / "rules"
    assert main(["rules", "export", str(new), "--set", "disk_queue_depth=2"]) == 0
    assert {path.name for path in new.iterdir()} == SHIPPED.keys()
    text = (new / "thresholds.rules.yml").read_text()
    assert text.splitlines()[1:3] == [
        f"#   floodmark rules export {new} --set disk_queue_depth=2 --lang en",
        "# disk_queue_depth is 2, it was 1.",
    ]
    assert "expr: vector(2)  # was 1\n" in text
    out = capsys.readouterr().out
    assert f"promtool check rules {new}/*.rules.yml" in out
    assert f"rule_files: ['{new}/*.rules.yml']" in out
    assert "Set disk_queue_depth = 2" in out
    assert "scrape_interval and evaluation_interval 15s" in out


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    once, twice = (
        {path.name: path.read_text() for path in tmp_path.iterdir()}
        for _ in range(2)
        if main(["rules", "export", str(tmp_path), "--faster", "30"]) == 0
    )
    assert once == twice


def test_files_of_others_stay_and_ours_of_an_older_version_go_and_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tmp_path / "theirs.rules.yml"
    theirs.write_text("groups: []\n")
    (tmp_path / "notes.txt").write_text("# Written by floodmark")
    (tmp_path / "old.rules.yml").write_text("# Written by floodmark 0.0.9; ...\ngroups: []\n")
    assert main(["rules", "export", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {theirs.name, "notes.txt", *SHIPPED}
    assert theirs.read_text() == "groups: []\n"
    assert "Removed old.rules.yml: floodmark has no such file any more" in capsys.readouterr().out


def test_a_file_of_that_name_which_is_not_ours_is_never_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tmp_path / "host.rules.yml"
    theirs.write_text("groups: []\n")
    assert f"{theirs} is not floodmark's" in refused(capsys, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["host.rules.yml"]
    assert theirs.read_text() == "groups: []\n"


def test_a_folder_that_is_none_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for target, why in ((file, " is no folder"), (file / "rules", ": File exists")):
        assert refused(capsys, target) == f"floodmark: {file}{why}: nothing is written\n"


def test_a_variable_that_is_not_set_is_not_the_present_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "") == "floodmark: rules export: DIR is empty: nothing is written\n"


def test_a_threshold_that_was_set_and_now_is_not_is_named_with_the_flag_that_keeps_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rules", "export", str(tmp_path), "--set", "disk_queue_depth=2"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["rules", "export", str(tmp_path)]) == 0
    assert capsys.readouterr().err == (
        "Note: disk_queue_depth was 2 here and is 1 now. To keep it: --set 'disk_queue_depth=2'\n"
    )


def test_a_closed_umask_leaves_rules_that_prometheus_may_read(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        assert main(["rules", "export", str(tmp_path / "etc" / "rules")]) == 0
    finally:
        os.umask(before)
    made = [tmp_path / "etc", tmp_path / "etc" / "rules"]
    assert {path.stat().st_mode & 0o777 for path in made} == {0o755}
    assert {path.stat().st_mode & 0o777 for path in made[1].iterdir()} == {0o644}


def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["rules", "export", str(tmp_path)]) == 0
    capsys.readouterr()
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    # The last one waits where there is no room.
    last = tmp_path / f".{max(SHIPPED)}.4711.new"
    last.symlink_to("/dev/full")
    monkeypatch.setattr("os.getpid", lambda: 4711)
    assert "No space left on device: nothing is written" in refused(capsys, tmp_path, "--faster", "60")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--set", "disk_que_depth=2"], "no threshold 'disk_que_depth': did you mean 'disk_queue_depth'?"),
        (["--set", "disk_queue_depth"], "give it a value, like --set disk_queue_depth=2"),
        (["--set", "disk_queue_depth=two"], "'two' is no number"),
        (
            ["--set", "disk_queue_depth=2", "--set", "disk_queue_depth=3"],
            "disk_queue_depth is set twice, to 2 before",
        ),
        (["--faster", "7"], "each duration must stay a whole number of milliseconds: "),
        (["--faster", "0"], "1 or 2 would do"),
        (["--faster", "7000000"], "would do"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_what_can_not_be_meant_is_one_line_and_nothing_is_written(
    flags: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refused(capsys, tmp_path, *flags)
    assert said in told
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_language_is_the_environments_unless_a_flag_says_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOODMARK_LANG", "ko")
    assert main(["rules", "export", str(tmp_path)]) == 0
    assert "--lang ko" in (tmp_path / "host.rules.yml").read_text()
    assert main(["rules", "export", str(tmp_path), "--lang", "en"]) == 0
    assert "--lang en" in (tmp_path / "host.rules.yml").read_text()
    capsys.readouterr()
    monkeypatch.setenv("FLOODMARK_LANG", "fr")
    assert refused(capsys, tmp_path) == (
        "floodmark: environment: FLOODMARK_LANG must be one of en, ko, not 'fr'\n"
    )


def test_faster_says_what_prometheus_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "export", str(tmp_path), "--faster", "60"]) == 0
    out = capsys.readouterr().out
    assert "scrape_interval and evaluation_interval 250ms" in out
    assert "--query.lookback-delta=5000ms" in out
