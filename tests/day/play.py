"""Many hosts' days through the real rules at once, by promtool; and what Alertmanager would tell of them."""

from __future__ import annotations

import os
import re
import subprocess
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from deploy.demo import servers
from tests.day import faults, inhibition
from tests.day.healthy import healthy
from tests.day.series import RUN_UP, STEP, Host
from tests.support.promql import selectors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.day.faults import Fault
    from tests.day.inhibition import Alert

ROOT = Path(__file__).parents[2]
RULES = ROOT / "alerts"

# Hosts of one promtool: few enough for its memory and for every CPU to have work to the end, enough to be
# each other's bystanders.
_TOGETHER = 13


class Result(NamedTuple):
    """What was told of a host, each with the hour it first was, and what should have been."""

    fault: Fault
    told: dict[Alert, float]

    @property
    def unexpected(self) -> list[Alert]:
        """What should not have been told, or not so."""
        return [alert for alert in self.told if not any(each.is_(alert) for each in self.fault.expected)]

    @property
    def missing(self) -> list[faults.Told]:
        """What should have been told."""
        return [each for each in self.fault.expected if not any(each.is_(alert) for alert in self.told)]

    @property
    def good(self) -> bool:
        """Return whether exactly what was expected was told."""
        return not self.unexpected and not self.missing


@cache
def rules() -> list[dict[str, Any]]:
    """Return every rule that is shipped."""
    return [
        rule
        for path in sorted(RULES.glob("*.rules.yml"))
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]


@cache
def asked() -> frozenset[str]:
    """Return the names of all series that a rule's expression asks for: others need not be made."""
    return frozenset(selector.name for rule in rules() for selector in selectors(rule["expr"]))


class Batch(NamedTuple):
    """Hosts that live beside each other in one Prometheus, from one hour to another."""

    faults: tuple[Fault, ...]
    begin: float
    end: float


def batches(wanted: Iterable[Fault], *, whole: bool = False) -> list[Batch]:
    """Return who plays with whom: the healthy host's whole day, then beside it those of the same hours."""
    day = (-RUN_UP, 24.0)
    together: dict[tuple[float, float], list[Fault]] = defaultdict(list)
    made = [Batch((faults.HEALTHY, faults.HEALTHY_SUNDAY), *day)]
    for fault in wanted:
        hours = day if whole else fault.hours
        if fault.alone:
            made.append(Batch((fault,), *hours))
        else:
            together[hours].append(fault)
    for hours, many in together.items():
        # As many in one as in the next.
        count = -(-len(many) // _TOGETHER)
        made += [Batch((faults.HEALTHY, *many[i::count]), *hours) for i in range(count)]
    # The longest first: at the end only short ones are waited for.
    return sorted(made, key=lambda batch: (batch.begin - batch.end) * (2 + len(batch.faults)))


def play(plan: list[Batch]) -> Iterator[list[Result]]:
    """Yield each batch's results as they come, on every CPU.

    Raises:
        servers.UnavailableError: there is no promtool.
    """
    # What all threads need, once.
    servers.find("promtool")
    asked()
    healthy()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in as_completed([pool.submit(_run, batch) for batch in plan]):
            yield done.result()


def _run(batch: Batch) -> list[Result]:
    first: dict[str, dict[Alert, float]] = defaultdict(dict)
    for hour, alerts in firing(batch).items():
        for alert in inhibition.told(alerts):
            first[dict(alert).get("instance", "")].setdefault(alert, hour)
    hosts = {fault.instance: fault for fault in batch.faults}
    # What names no host is told of the first: the one that is alone, or the healthy one.
    nameless = first.pop("", {})
    if strange := first.keys() - hosts.keys():
        raise AssertionError(f"alerts of hosts that aren't there: {strange}")
    return [
        Result(fault, first[name] | (nameless if fault is batch.faults[0] else {}))
        for name, fault in hosts.items()
    ]


def firing(batch: Batch) -> dict[float, set[Alert]]:
    """Return what fires at each minute in which anything does, by the hour, in order.

    Raises:
        servers.UnavailableError: there is no promtool.
    """
    with TemporaryDirectory(prefix="floodmark-day-") as temporary:
        path = Path(temporary) / "day.test.yml"
        path.write_text(_test(batch, _rules(Path(temporary), batch.faults[0])))
        found = _firing(path)
    return {batch.begin + minute / 60: alerts for minute, alerts in sorted(found.items())}


def _rules(folder: Path, fault: Fault) -> list[str]:
    """Return the rule files, without the threshold that the fault has gone missing."""
    if not fault.without:
        return [str(path) for path in sorted(RULES.glob("*.rules.yml"))]
    for path in RULES.glob("*.rules.yml"):
        document = yaml.safe_load(path.read_text())
        for group in document["groups"]:
            group["rules"] = [rule for rule in group["rules"] if rule.get("record") != fault.without]
        (folder / path.name).write_text(yaml.safe_dump(document, allow_unicode=True))
    return [str(folder / "*.rules.yml")]


def _test(batch: Batch, rule_files: list[str]) -> str:
    """Return a rule test that asks each minute what fires, and expects nothing."""
    base = healthy()
    hours = (batch.begin, batch.end)
    plain = base.told(asked(), *hours)
    lines = [f"rule_files: {rule_files}", "evaluation_interval: 1m", "tests:", f"- interval: {STEP}s"]
    lines.append("  input_series:")
    for fault in batch.faults:
        host = base.copy()
        fault.change(host)
        changed = _changed(base, host).told(asked(), *hours)
        for key in (*host.gauges, *host.counters):
            if key.name in asked():
                values = changed[key] if key in changed else plain[key]
                series = f'{key},instance="{fault.instance}"}}'
                lines.append(f"  - {{series: '{series}', values: '{values}'}}")
    lines.append("  promql_expr_test:")
    question = """'ALERTS{alertstate="firing",alertname!="Watchdog"}'"""
    minutes = round((batch.end - batch.begin) * 60)
    lines += [f"  - {{expr: {question}, eval_time: {minute}m}}" for minute in range(minutes)]
    return "\n".join(lines) + "\n"


def _changed(base: Host, host: Host) -> Host:
    """Return the series of a host that aren't the very same as another's."""
    own = Host()
    own.gauges = {key: values for key, values in host.gauges.items() if base.gauges.get(key) is not values}
    own.counters = {
        key: growth for key, growth in host.counters.items() if base.counters.get(key) is not growth
    }
    return own


_FAILED = re.compile(r'^ +expr: "ALERTS.*", time: (\S+),\n +exp:.*\n +got:(.*)$', re.MULTILINE)
_LABELS = re.compile(r'{((?:\w+="(?:[^"\\]|\\.)*"(?:, )?)+)} 1E\+00')


def _firing(path: Path) -> dict[int, set[Alert]]:
    """Return what fires, by the minute of the run: promtool tells it as what it didn't expect."""
    done = subprocess.run(
        [servers.find("promtool"), "test", "rules", path],
        capture_output=True,
        text=True,
        check=False,
        # Memory for time: a fifth less of it.
        env={"GOGC": "400", **os.environ},
    )
    firing = {}
    for at, got in _FAILED.findall(done.stderr):
        alerts = {
            frozenset(
                (name, value)
                for name, value in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)
                if name not in {"__name__", "alertstate"}
            )
            for labels in _LABELS.findall(got)
        }
        assert len(alerts) == got.count("alertname="), got
        firing[_minute(at)] = alerts
    left = re.sub(r"^\s*FAILED:\s*", "", _FAILED.sub("", done.stderr)).strip()
    assert not left, left[:4000]
    assert done.returncode == int(bool(firing)), done.stdout[-4000:]
    return firing


def _minute(duration: str) -> int:
    minutes = {"d": 1440, "h": 60, "m": 1, "s": 0}
    return sum(int(number) * minutes[unit] for number, unit in re.findall(r"(\d+)([dhms])", duration))
