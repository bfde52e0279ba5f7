"""Write what is generated but for dashboards, or say which of it differs.

The reference pages docs/{metrics,alerts,configuration}.md, and the variants of Alertmanager's configuration.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import re
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from deploy.alertmanager import variants
from floodmark import catalogue, config
from floodmark.metric import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from floodmark.metric import Metric

DOCS = Path(__file__).parent
ALERTS = DOCS.parent / "alerts"
GENERATED = "<!-- Written by docs/generate.py: change {source}, then type: make docs -->"

_EXAMPLE = """```yaml
listen: 127.0.0.1:9717
apps:
  shop:
    target: shop.wsgi:application
    log: /var/log/gunicorn/shop.log
```"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 all is written or equal, 1 a file differs, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file differs")
    check = parser.parse_args(arguments).check

    wanted = {
        DOCS / "metrics.md": metrics(),
        DOCS / "alerts.md": alerts(),
        DOCS / "configuration.md": configuration(),
        **variants.files(),
    }
    differing = {
        path: text
        for path, text in wanted.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    for path, text in differing.items():
        if check:
            sys.stderr.write(f"{path} differs from what it is made of. Type: make docs\n")
        else:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {path}\n")
    return 1 if check and differing else 0


def metrics() -> str:
    """The catalogue as a page: a table for each collector."""
    parts = [
        "# Metrics",
        GENERATED.format(source="exporter/floodmark/catalogue.py"),
        (
            "What `/metrics` has, by the collector that makes it. Prometheus adds `job` and `instance`. Host "
            "metrics have node_exporter's names and meanings."
        ),
    ]
    for collector, rows in itertools.groupby(catalogue.ALL, key=lambda row: row.collector):
        parts += [f"## {collector}", _table(("metric", "type", "labels", "meaning"), map(_metric, rows))]
    return "\n\n".join(parts) + "\n"


def _metric(row: Metric) -> tuple[str, ...]:
    kind = "untyped" if row.kind is Kind.UNTYPED else row.kind.value
    return (
        f"`{row.name}`",
        f"{kind}, {row.unit}" if row.unit else kind,
        " ".join(f"`{label}`" for label in row.labels),
        row.help,
    )


def alerts() -> str:
    """The rules as a page: alerts by file, the thresholds they compare with, what is recorded for them."""
    paths = [path for path in sorted(ALERTS.glob("*.rules.yml")) if path.name != "thresholds.rules.yml"]
    rules = {
        path: [
            rule
            for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
            for rule in group["rules"]
        ]
        for path in paths
    }
    silenced = _silenced()
    recorded = {rule["record"]: rule["expr"] for path in paths for rule in rules[path] if "record" in rule}
    parts = [
        "# Alerts",
        GENERATED.format(source="alerts/*.rules.yml"),
        (
            "Each has a runbook (its name leads there) and a rule test (`tests/alerts/<Alert>.test.yml`). "
            "Alertmanager sends one message for each host and app, and one for deaths and gaps, which have "
            "no end to tell. It leaves out an alert while its cause is told: the column *silent while* names "
            "it. While TargetDown fires for a host, all of that host's are silent; a critical alert silences "
            "its own warning."
        ),
        (
            "An alert whose series nobody publishes is silent: the column *needs* says what brings them, "
            "where it isn't floodmark from outside. **Cloud and proxy metrics have no collector in floodmark "
            "yet**; their names are [in the rules](../alerts), for whoever has them from elsewhere."
        ),
    ]
    for path in paths:
        parts += [
            f"## [{path.name}](../alerts/{path.name})",
            _head(path),
            _table(
                ("alert", "severity", "after", "impact", "needs", "silent while"),
                (_alert(rule, silenced, recorded) for rule in rules[path] if "alert" in rule),
            ),
        ]
    parts += [
        "## Thresholds",
        (
            "Tuned in `alerts/thresholds.rules.yml` and nowhere else: rules and panels read these series. "
            "For a Prometheus of your own: `floodmark rules export DIR --set disk_queue_depth=2`."
        ),
        _table(("series", "value", "why"), _thresholds()),
        "## Series recorded for the rules",
        _table(("series", "expression"), ((f"`{name}`", f"`{expr}`") for name, expr in recorded.items())),
    ]
    return "\n\n".join(parts) + "\n"


def _head(path: Path) -> str:
    """What a rule file says of itself: the comment at its top."""
    lines = itertools.takewhile(
        lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines()
    )
    return " ".join(line.lstrip("# ") for line in lines)


# What brings series that floodmark doesn't see from outside, by how their names begin.
_NEEDS = {
    "gunicorn_request(s_total|_duration|_busy)": "StatsD or the agent",
    "python_(gc|heap_live)|gunicorn_route": "the agent",
    "proxy_": "proxy metrics",
    "cloud_": "cloud metrics",
    "pg_": "postgres_exporter",
    "jvm_|hikaricp_": "Micrometer",
    "prometheus_|alertmanager_": "Prometheus and Alertmanager as targets",
}


def _needs(expr: str, recorded: dict[str, str]) -> set[str]:
    """What must be there for an expression to have a value, through the series recorded for it."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", expr)
    found = {what for names, what in _NEEDS.items() if re.search(rf"(?<![\w:])({names})", bare)}
    return found.union(
        *(_needs(recorded[name], recorded) for name in recorded.keys() & set(re.findall(r"[\w:]+", bare)))
    )


def _alert(rule: dict[str, Any], silenced: dict[str, list[str]], recorded: dict[str, str]) -> tuple[str, ...]:
    name = rule["alert"]
    return (
        f"[{name}](../alerts/runbooks/{name}.md)",
        rule["labels"]["severity"],
        rule.get("for", "at once"),
        rule["annotations"]["impact"],
        ", ".join(sorted(_needs(rule["expr"], recorded))),
        ", ".join(silenced.get(name, ())),
    )


def _silenced() -> dict[str, list[str]]:
    """The causes that silence an alert, by its name: alertmanager.yml's, where it names both."""
    config = yaml.safe_load(variants.SHIPPED.read_text(encoding="utf-8"))
    by_target: dict[str, list[str]] = {}
    for rule in config["inhibit_rules"]:
        source, target = (
            re.findall(r'^alertname =~? "(.+)"$', "\n".join(rule[f"{side}_matchers"]), re.MULTILINE)
            for side in ("source", "target")
        )
        for name in target:
            for one in name.split("|"):
                by_target.setdefault(one, []).extend(source[0].split("|"))
    return by_target


def _thresholds() -> Iterable[tuple[str, ...]]:
    """Each threshold with the comment above it: its reason, which YAML's parser drops."""
    text = (ALERTS / "thresholds.rules.yml").read_text(encoding="utf-8")
    for comment, name, value in re.findall(
        r"((?: +#.*\n)+) +- record: (\S+)\n +expr: vector\((.+)\)\n", text
    ):
        why = " ".join(line.strip(" #") for line in textwrap.dedent(comment).splitlines())
        yield f"`{name}`", value, why


def configuration() -> str:
    """The settings as a page: those of floodmark, and those of single apps."""
    own = (
        (
            f"`{name}`",
            f"`--{name.replace('_', '-')}`",
            f"`{config.ENV_PREFIX}{name.upper()}`",
            *_setting(field),
        )
        for name, field in config.FIELDS.items()
        if name in config.SCALARS
    )
    apps = ((f"`{field.name}`", field.metadata["doc"]) for field in dataclasses.fields(config.App))
    return (
        "\n\n".join(
            (
                "# Configuration",
                GENERATED.format(source="exporter/floodmark/config.py"),
                (
                    "Nothing has to be set. What is set comes from a YAML file (`--config FILE` or "
                    f"`{config.ENV_PREFIX}CONFIG`), the environment and flags; later ones win. A key that "
                    "doesn't exist is an error that names the nearest right one."
                ),
                _table(("key", "flag", "environment", "default", "meaning"), own),
                "## Apps",
                (
                    "Under `apps`, by label; in the file only. The label is gunicorn's `--name` or "
                    "proc_name, else the one given here, else the WSGI target."
                ),
                _table(("key", "meaning"), apps),
                _EXAMPLE,
            )
        )
        + "\n"
    )


def _setting(field: dataclasses.Field[Any]) -> tuple[str, str]:
    default = field.default
    shown = "" if default in ((), None) else str(default)
    return (f"`{shown}`" if shown else "none", field.metadata["doc"])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
