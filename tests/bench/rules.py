"""What the rules cost Prometheus: of 50 hosts with 8 workers each, beside a Prometheus without them.

Long windows are full: of each series that a rule looks back on there is as much as it looks back on, at the
step at which it would have been scraped or recorded.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import shutil
import statistics
import subprocess
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import promql_parser
import yaml

from deploy.demo import servers
from floodmark.rules import export
from tests.bench import hosts
from tests.bench.page import Line, Section, table
from tests.bench.setups import memory_folder, say
from tests.support.live import ROOT, free_port, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

HEADING = "The rules in Prometheus"
BUDGET = 2  # % of a core
HOSTS, WORKERS = 50, 8
INTERVAL = 15  # seconds between two scrapes, and between two evaluations
FASTER = 15  # so that recorded series are there within seconds
FIRST = 30.0  # seconds of that
WARM, MEASURED = 35.0, 120.0  # seconds
SAMPLES = 3_000_000  # of history; where it would be more the step is longer
BLOCK = 7200  # seconds of a block of Prometheus' storage
SOON = 10.0  # seconds that it takes to read the last block in and to start
NEAR = 120.0  # seconds from now that a recorded value is a time in
SMALL = 1000.0  # a gauge up to here may be a state
COSTLY = 5  # rules that are named


class Window(NamedTuple):
    """A selector of a rule: how far it looks back, and how often it gets a sample, in seconds."""

    selector: promql_parser.VectorSelector
    back: float
    step: float

    @property
    def query(self) -> str:
        """What selects the present samples."""
        return f"{self.selector.name or ''}{self.selector.matchers}"


class Cost(NamedTuple):
    """Of a group or a rule: how often it is evaluated and how long that takes, in seconds."""

    group: str
    name: str
    interval: float
    seconds: float

    @property
    def share(self) -> float:
        """Time in evaluation, in % of all time."""
        return 100 * self.seconds / self.interval


class History(NamedTuple):
    """What was there before: how many samples, and by how much their step is longer than the true one."""

    samples: int
    coarser: int


def measure() -> Section:
    """Measure both at once: what else the machine does meets both alike."""
    texts = {path.name: path.read_text() for path in sorted((ROOT / "alerts").glob("*.rules.yml"))}
    windows = list(_windows(texts.values()))
    with memory_folder() as folder:
        page = hosts.page(folder, WORKERS, [window.selector for window in windows])
        with hosts.serving(page) as port:
            history = _history(folder, port, texts, windows, page)
            say(f"rules: {history.samples:,} samples of history; {WARM + MEASURED:g} s of evaluation")
            (folder / "rules").mkdir()
            for name, text in texts.items():
                (folder / "rules" / name).write_text(text)
            shutil.copytree(folder / "with", folder / "without")
            with (
                _prometheus(folder / "without", port) as bare,
                _prometheus(folder / "with", port, rules=folder / "rules") as ruled,
            ):
                time.sleep(WARM)
                return _section(page, history, windows, ruled, bare)


class Prometheus(NamedTuple):
    """A Prometheus that answers."""

    pid: int
    port: int

    def cpu(self) -> float:
        """Return the seconds of CPU time it has used."""
        return time.clock_gettime((~self.pid << 3) | 2)  # of another process: clock_getcpuclockid(3)

    def ask(self, path: str, **parameters: str) -> Any:  # noqa: ANN401 - parsed JSON
        """Return the data of an answer of its API."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", f"/api/v1/{path}?{urlencode(parameters)}")
            answer = json.loads(connection.getresponse().read())
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """Return the present value of each series of an expression."""
        found = self.ask("query", query=expr)["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def costs(self) -> tuple[list[Cost], list[Cost]]:
        """Return what the last evaluation of each group took, and of each rule."""
        groups = self.ask("rules")["groups"]
        return (
            [Cost(group["name"], "", group["interval"], group["evaluationTime"]) for group in groups],
            [
                Cost(group["name"], rule["name"], group["interval"], rule["evaluationTime"])
                for group in groups
                for rule in group["rules"]
            ],
        )


@contextlib.contextmanager
def _prometheus(
    data: Path, hosts_port: int, rules: Path | None = None, interval: float = INTERVAL
) -> Iterator[Prometheus]:
    """Run Prometheus with the shipped configuration on the hosts, and on itself."""
    port = free_port()
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    config["global"] |= dict.fromkeys(
        ("scrape_interval", "scrape_timeout", "evaluation_interval"), f"{interval:g}s"
    )
    watched, itself, *_ = config["scrape_configs"]
    watched["static_configs"] = [
        {"targets": [f"127.0.0.1:{hosts_port}"], "labels": {"instance": f"web-{number}"}}
        for number in range(HOSTS)
    ]
    itself["static_configs"] = [{"targets": [f"127.0.0.1:{port}"], "labels": {"instance": "prometheus"}}]
    config["scrape_configs"] = [watched, itself]
    config["rule_files"] = [f"{rules}/*.rules.yml"] if rules else []
    del config["alerting"]
    file = data.with_suffix(".yml")
    file.write_text(yaml.safe_dump(config))
    command = [
        *(str(servers.find("prometheus")), f"--config.file={file}", f"--storage.tsdb.path={data}"),
        f"--web.listen-address=127.0.0.1:{port}",
        # The history's blocks stay as they are: no compaction while one measures.
        *("--storage.tsdb.min-block-duration=2h", "--storage.tsdb.max-block-duration=2h"),
    ]
    log = data.with_suffix(".log")
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        running = Prometheus(process.pid, port)

        def ready() -> bool:
            assert process.poll() is None, log.read_text()
            with contextlib.suppress(OSError, ValueError):
                return bool(running.ask("status/buildinfo"))
            return False

        try:
            until(ready, 30, "Prometheus answers")
            yield running
        finally:
            process.terminate()
            process.wait(30)


# --- History


def _windows(texts: Iterable[str]) -> Iterator[Window]:
    """Yield each selector of the rules' expressions."""
    groups = [group for text in texts for group in yaml.safe_load(text)["groups"]]
    steps = {
        rule["record"]: promql_parser.parse_duration(group["interval"]).total_seconds()
        for group in groups
        for rule in group["rules"]
        if "record" in rule and "interval" in group
    }
    for group in groups:
        for rule in group["rules"]:
            for selector, back in _selected(promql_parser.parse(rule["expr"]), 0):
                yield Window(selector, back, steps.get(selector.name, INTERVAL))


def _selected(node: object, back: float) -> Iterator[tuple[promql_parser.VectorSelector, float]]:
    """Yield each selector below a node, and how many seconds it looks back at most."""
    if isinstance(node, list):
        for each in node:
            yield from _selected(each, back)
    if not isinstance(node, promql_parser.Expr):
        return
    for name in ("range", "offset"):
        span = getattr(node, name, None)
        back += span.total_seconds() if isinstance(span, timedelta) else 0
    if isinstance(node, promql_parser.VectorSelector):
        yield node, back
        return
    for name in ("expr", "lhs", "rhs", "args", "param", "vector_selector"):
        yield from _selected(getattr(node, name, None), back)


def _history(
    folder: Path, port: int, texts: Mapping[str, str], windows: Sequence[Window], page: hosts.Page
) -> History:
    """Write the history of every series that rules look back on into folder/with, as blocks of Prometheus."""
    back, values = _looked_back_on(folder, port, texts, windows)
    wanted = sum(window.back / window.step for window in back.values())
    coarser = max(1, math.ceil(wanted / SAMPLES))
    now, file, samples = time.time(), folder / "block", 0
    oldest = now - max(window.back for window in back.values())
    pasts = {series: _past(*value, page, now) for series, value in values.items()}
    for block in range(int(oldest // BLOCK), int(now // BLOCK) + 1):
        # The last one ends a moment from now: no gap until the first scrape, as a gap is told by an alert.
        end = min((block + 1) * BLOCK, time.time() + SOON)
        with file.open("w") as out:
            for series, window in back.items():
                step, past = window.step * coarser, pasts[series]
                steps = range(math.ceil(max(block * BLOCK, now - window.back) / step), math.ceil(end / step))
                samples += len(steps)
                out.writelines(f"{series} {past(each * step - now)!r} {each * step:.0f}\n" for each in steps)
            out.write("# EOF\n")
        promtool = [str(servers.find("promtool")), "tsdb", "create-blocks-from", "openmetrics", "-q"]
        done = subprocess.run(
            [*promtool, str(file), str(folder / "with")], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    file.unlink()
    return History(samples, coarser)


def _looked_back_on(
    folder: Path, port: int, texts: Mapping[str, str], windows: Sequence[Window]
) -> tuple[dict[str, Window], dict[str, tuple[str, float]]]:
    """Return each such series with its longest window, and with its name on the page and its value."""
    fast = folder / "fast"
    fast.mkdir()
    for name, text in texts.items():
        (fast / name).write_text(export(text, {}, "en", FASTER)[0])
    say(f"rules: {FIRST:g} s to see which series they record")
    back: dict[str, Window] = {}
    values: dict[str, tuple[str, float]] = {}
    with _prometheus(folder / "first", port, rules=fast, interval=INTERVAL / FASTER) as first:
        time.sleep(FIRST)
        for window in windows:
            for labels, value in first.query(window.query) if window.back else ():
                name = labels.pop("__name__")
                series = hosts.written(name, labels)
                if series not in back or window.back > back[series].back:
                    back[series] = window
                    own = {key: text for key, text in labels.items() if key not in ("job", "instance")}
                    values[series] = hosts.written(name, own), value
    return back, values


def _past(name: str, value: float, page: hosts.Page, now: float) -> Callable[[float], float]:
    """Return the value so many seconds from now: at the page's pace, or a clock's, or about the same."""
    pace = page.series[name][1] if name in page.series else float(abs(value - now) < NEAR)
    if pace:
        return lambda seconds: max(0.0, value + pace * seconds)
    # Large gauges never stand still, and what stands still is cheaper to read.
    noise = 1e-4 if abs(value) > SMALL else 0
    return lambda seconds: value * (1 + noise * (int(seconds) % 7))


# --- Measuring


def _section(
    page: hosts.Page, history: History, windows: Sequence[Window], ruled: Prometheus, bare: Prometheus
) -> Section:
    before, started = (ruled.cpu(), bare.cpu()), time.monotonic()
    looks = []
    while time.monotonic() < started + MEASURED:
        time.sleep(INTERVAL)
        looks.append(ruled.costs())
    passed = time.monotonic() - started
    with_rules, without = (
        100 * (now - then) / passed for now, then in zip((ruled.cpu(), bare.cpu()), before, strict=True)
    )
    failures = sum(value for _, value in ruled.query("prometheus_rule_evaluation_failures_total"))
    assert not failures, f"{failures:g} evaluations failed"
    missed = sum(value for _, value in ruled.query("prometheus_rule_group_iterations_missed_total"))
    assert not missed, f"{missed:g} evaluations were missed"
    firing = {
        labels["alertname"]: int(value) for labels, value in ruled.query("count by (alertname) (ALERTS)")
    }
    queries = sorted({window.query for window in windows})
    unmatched = [query for query in queries if not ruled.query(f"count({query})")]
    groups = _means(groups for groups, _ in looks)
    rules = _means(rules for _, rules in looks)
    wall = sum(group.share for group in groups)
    line = Line(
        f"all rules, {HOSTS} hosts with {WORKERS} workers: CPU time more than without",
        with_rules - without,
        BUDGET,
        "% of a core",
    )
    told = (
        f"\n{len(rules)} rules every {INTERVAL} s or as their group says; {HOSTS} copies of a real page with "
        f"{len(page.series)} series,\n{page.made_up} of which are made up: what this machine hasn't got. "
        f"{history.samples:,} samples of history fill the long windows, "
        f"{f'at {history.coarser} times the true step' if history.coarser > 1 else 'at the true step'}.\n"
        f"Two Prometheus side by side for {passed:.0f} s: {with_rules:.2f} % of a core with the rules, "
        f"{without:.2f} % without.\nBy the wall's clock evaluation took {wall:.2f} % of the time.\n"
        f"Active alerts meanwhile: {_listed(firing)}.\nSelectors of rules without a series: "
        f"{', '.join(f'`{query}`' for query in unmatched) or 'none'}.\n\n"
    )
    by_group = table(
        ("group", "rules", "every", "an evaluation", "% of the time"),
        (
            (
                group.group,
                str(sum(rule.group == group.group for rule in rules)),
                f"{group.interval:g} s",
                f"{1000 * group.seconds:.2f} ms",
                f"{group.share:.3f}",
            )
            for group in groups
        ),
    )
    by_rule = table(
        (f"the {COSTLY} costliest rules", "an evaluation", "% of the time"),
        ((rule.name, f"{1000 * rule.seconds:.2f} ms", f"{rule.share:.3f}") for rule in rules[:COSTLY]),
    )
    return Section([line], f"{told}{by_group}\n{by_rule}")


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in sorted(counts.items())) or "none"


def _means(looks: Iterable[Sequence[Cost]]) -> list[Cost]:
    """Return each group or rule once, with its mean, the costliest first."""
    means = [
        # 0 is what has not been evaluated yet: a group of minutes.
        each[0]._replace(seconds=statistics.fmean([cost.seconds for cost in each if cost.seconds] or [0.0]))
        for each in zip(*looks, strict=True)
    ]
    return sorted(means, key=lambda cost: cost.share, reverse=True)
