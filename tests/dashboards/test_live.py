"""Every query of every dashboard has data, asked of a real Prometheus as Grafana asks it.

What is real: Prometheus, with the shipped rules; floodmark; a gunicorn with the agent, whose workers are
recycled, time out, are killed, reloaded and (where a memory cgroup may be made) killed for memory, under
requests of all kinds. A second floodmark reads the recorded host t3-micro, which has what this machine may
lack: swap, stolen CPU time, pressure, disks. Pages of tests/fixtures/pages, whose README says where they are
from, stand in for exporters that aren't here.

What isn't: time. Rules run 15 times as fast (``floodmark rules export --faster``), scrapes come each second.
The day before is made of the pages as they were when it was written: what counts began at 0 then, all else
never changed. It ends ten minutes before the first scrape, further back than Prometheus looks for a sample
that is missing: what a query says of now is of what was scraped.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import itertools
import json
import math
import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import requests
import yaml

from deploy.demo import memory_cgroup, servers
from floodmark import cli
from tests.fixtures.hosts import lay_out
from tests.support.live import Gunicorn, floodmark, gunicorn, until
from tests.support.pages import Served, samples
from tests.support.replay import Prometheus, label

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.support.live import Floodmark
    from tests.support.pages import Sample

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "tests" / "fixtures" / "pages"
FILES = sorted((ROOT / "dashboards" / "json").glob("*.json"))

RULES = [
    rule
    for path in sorted((ROOT / "alerts").glob("*.rules.yml"))
    for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
    if "record" in rule
]

FASTER = 15
RANGE = 3600  # seconds that a dashboard shows unless told otherwise
INTERVAL = 15  # of deploy/grafana's data source: the least step
WORKERS = 3
SCRAPES = 15  # of what comes after the workers' ends

DAY, GAP = 26 * 3600, 600

# What stands in for whom: job and instance by page. What floodmark has no collector for yet will be on the
# page of the one that sees the gunicorn, so it gets that one's labels.
TARGETS = {
    "floodmark-cloud.txt": ("cloud", "web-1"),
    "spring-boot-2.7.txt": ("jvm", "billing"),
    "spring-boot-3.5.txt": ("jvm", "shop"),
    "postgres_exporter-0.11.1.txt": ("postgres", "db-1"),
    "postgres_exporter-0.17.1.txt": ("postgres", "db-2"),
}
JOBS = {"cloud": "floodmark"}

# What a query is asked of, where it has nothing to say of all there is: by dashboard, panel and letter.
ALL = {"job": ".+", "instance": ".+", "app": ".+"}
ASKED_OF: dict[tuple[str, int | str, str], dict[str, str]] = {
    # The disk of a database host is its queue only where no cloud tells that.
    ("floodmark-database", 465, "B"): ALL | {"instance": "db-1"},
    # Nothing but JVMs can be chosen there, and nothing but gunicorns' apps here.
    ("floodmark-jvm", "Deaths", "Anno"): ALL,
    ("floodmark-jvm", "Deploys", "Anno"): ALL,
    ("floodmark-incident", 164, "D"): ALL,
}


class Asked(NamedTuple):
    """A query of a dashboard: of the panel of that number, or the annotation of that name."""

    dashboard: str
    panel: int | str
    title: str
    letter: str
    expr: str
    instant: bool
    step: int

    def __str__(self) -> str:
        return f"{self.dashboard}/{self.panel} {self.title}/{self.letter}"

    @property
    def key(self) -> tuple[str, int | str, str]:
        """What ASKED_OF knows it by."""
        return self.dashboard, self.panel, self.letter


def _seconds(interval: str) -> int:
    return int(interval[:-1]) * {"s": 1, "m": 60, "h": 3600}[interval[-1]]


def _asked() -> Iterator[Asked]:
    for file in FILES:
        plain = json.loads(file.read_text(encoding="utf-8"))
        for outer in plain["panels"]:
            for panel in (outer, *outer.get("panels", ())):
                step = max(INTERVAL, _seconds(panel.get("interval", "0s")))
                for target in panel.get("targets", ()):
                    instant = target.get("instant", False)
                    where = (plain["uid"], panel["id"], panel["title"], target["refId"])
                    yield Asked(*where, target["expr"], instant=instant, step=step)
        for each in plain["annotations"]["list"]:
            if each["datasource"]["type"] != "prometheus":
                continue  # Grafana's own
            target = each["target"]
            where = (plain["uid"], each["name"], "annotation", target["refId"])
            yield Asked(*where, target["expr"], instant=False, step=_seconds(target["interval"]))


def _ask(prometheus: Prometheus, path: str, **parameters: str | float) -> Any:  # noqa: ANN401 - JSON
    """Return the data of an answer of Prometheus' API."""
    answer = requests.get(
        f"{prometheus.url}/api/v1/{path}", parameters, proxies={"no_proxy": "*"}, timeout=30
    )
    plain = answer.json()
    assert plain["status"] == "success", plain
    return plain["data"]


class Stage(NamedTuple):
    """A Prometheus that has seen it all.

    Attributes:
        prometheus: it.
        began: when its first scrapes were, in Unix time.
        ended: when everything was over.
    """

    prometheus: Prometheus
    began: float
    ended: float

    def values(self, asked: Asked, variables: dict[str, str]) -> list[float]:
        """Return the values that a panel would draw of what was scraped: of its end, if it is instant."""
        expr = _filled(asked.expr, asked.step, variables)
        if asked.instant:
            found = _ask(self.prometheus, "query", query=expr, time=self.ended)["result"]
            points = [series["value"] for series in found]
        else:
            span = {"start": self.ended - RANGE, "end": self.ended, "step": asked.step}
            found = _ask(self.prometheus, "query_range", query=expr, **span)["result"]
            points = [point for series in found for point in series["values"] if point[0] >= self.began]
        return [value for value in (float(text) for _, text in points) if math.isfinite(value)]


def _filled(expr: str, step: int, variables: dict[str, str]) -> str:
    """An expression as Grafana sends it.

    Raises:
        KeyError: it has a variable that the dashboard doesn't.
    """
    known = variables | {
        "__interval": f"{step}s",
        "__rate_interval": f"{max(step + INTERVAL, 4 * INTERVAL)}s",
        "__range": f"{RANGE}s",
    }
    return re.sub(r"\$(\w+)", lambda found: known[found[1]], expr)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """All of it, played once; only Prometheus is left when the tests ask."""
    folder = tmp_path_factory.mktemp("stage")
    programs = servers.find("prometheus"), servers.find("promtool")
    prometheus = Prometheus(folder, programs)
    with contextlib.ExitStack() as after:
        after.callback(prometheus.stop)
        yield _play(folder, prometheus)


def _play(folder: Path, prometheus: Prometheus) -> Stage:
    with contextlib.ExitStack() as stack:
        app, told, may_kill_for_memory = _app(folder, stack)
        host = stack.enter_context(floodmark(folder, "--root", str(lay_out("t3-micro", folder / "host"))))
        visits = stack.enter_context(_visits(app))
        until(lambda: _has(told, app, LATE), 60, "the app has been used in all ways")

        pages = {("floodmark", "web-1"): told.metrics(), ("floodmark", "db-1"): host.metrics()}
        ports = {("floodmark", "web-1"): told.port, ("floodmark", "db-1"): host.port}
        for name, target in TARGETS.items():
            pages[target] = (PAGES / name).read_text(encoding="utf-8")
            ports[target] = stack.enter_context(Served(pages[target])).server_port
        _remember(prometheus, pages)

        began = time.time()
        prometheus.start(_configuration(folder, ports, app.name))
        _scraped(prometheus, 5, len(ports))
        _harm(app, told, may_kill_for_memory=may_kill_for_memory)
        _scraped(prometheus, SCRAPES, len(ports))
        # Memory of a worker that just started isn't read yet.
        visits.set()
        until(lambda: _has(told, app, {'kind="proportional"'}), 60, "the memory of all workers is read")
        _scraped(prometheus, 2, len(ports))
        return Stage(prometheus, began, ended=time.time())


def _app(folder: Path, stack: contextlib.ExitStack) -> tuple[Gunicorn, Floodmark, bool]:
    """Start the gunicorn, in a memory cgroup where one may be made, and the floodmark that sees it."""
    cgroup: memory_cgroup.MemoryCgroup | None = None
    with contextlib.suppress(memory_cgroup.NoCgroupError):
        cgroup = memory_cgroup.make(f"floodmark-stage-{os.getpid()}", 256 << 20)
        stack.callback(cgroup.remove)

    def enter(command: list[str]) -> list[str]:
        with_agent = ["env", f"FLOODMARK_AGENT_DIR={folder}", *command]
        return cgroup.entering(with_agent) if cgroup else with_agent

    flags = ["--logger-class", "floodmark.agent.Logger", "--preload"]
    # Not the usual 2 s: on a busy machine it takes longer to run out of memory.
    flags += ["--timeout", "5", "--max-requests", "150", "--max-requests-jitter", "30"]
    app = stack.enter_context(
        gunicorn("stage", folder, *flags, workers=WORKERS, enter=enter, target="tests.support.staged:app")
    )
    return app, stack.enter_context(floodmark(folder)), cgroup is not None


_VISIT = (
    "/",
    "/report/2026",
    "/cycles",
    "/shop/item/3",
    "/slow/0.2",
    "/missing/x",
    "/fail",
    "/collect",
    "/json",
)


@contextlib.contextmanager
def _visits(app: Gunicorn) -> Iterator[threading.Event]:
    """Have two visitors go round until told to stop; a proxy before the app says when each came."""
    stop = threading.Event()

    def visit() -> None:
        for path in itertools.cycle(_VISIT):
            if stop.wait(0.05):
                return
            connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=10)
            with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
                connection.request("GET", path, headers={"X-Request-Start": f"t={time.time() - 0.01:.3f}"})
                connection.getresponse().read()

    visitors = [threading.Thread(target=visit) for _ in range(2)]
    for each in visitors:
        each.start()
    try:
        yield stop
    finally:
        stop.set()
        for each in visitors:
            each.join()


# What comes late; the day before is made of a page that has it all.
LATE = {"python_heap_live_blocks", "gunicorn_route_allocated_blocks", "gunicorn_request_queue_seconds_sum"}


def _has(told: Floodmark, app: Gunicorn, words: set[str]) -> bool:
    """Tell whether the page of floodmark has all these of the app."""
    lines = [line for line in told.metrics().splitlines() if f'app="{app.name}"' in line]
    return all(any(word in line for line in lines) for word in words)


def _remember(prometheus: Prometheus, pages: dict[tuple[str, str], str]) -> None:
    """Give Prometheus the day before, and what the rules (at their own pace) record of it."""
    now = time.time()
    began, ended = now - DAY, now - GAP
    # Denser a day ago, of which rates over a minute are asked, and towards its end.
    day_ago = now - 86_400
    times = sorted(
        {
            *_steps(began, ended, 240),
            *_steps(day_ago - 120, day_ago + 300, INTERVAL),
            *_steps(now - 1800, ended, 60),
        }
    )

    def points(sample: Sample) -> Iterable[tuple[float, float]]:
        for at in times:
            yield at, sample.value * ((at - began) / DAY if sample.counts else 1)

    prometheus.load(
        (label(sample.series, {"job": JOBS.get(job, job), "instance": instance}), points(sample))
        for (job, instance), page in pages.items()
        for sample in samples(page)
    )
    prometheus.start({})
    recorded = [*_recorded(prometheus, began, ended)]
    prometheus.stop()
    prometheus.load(recorded)


def _recorded(
    prometheus: Prometheus, start: float, end: float
) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Yield what the shipped rules record of a time, but for what they record of each other.

    As `promtool tsdb create-blocks-from rules` does, which makes a block for each two hours of each rule.
    """
    for rule in RULES:
        found = _ask(prometheus, "query_range", query=rule["expr"], start=start, end=end, step=240)
        for series in found["result"]:
            labels = {key: value for key, value in series["metric"].items() if key != "__name__"}
            yield label(rule["record"], labels), [(at, float(value)) for at, value in series["values"]]


def _steps(start: float, end: float, step: float) -> list[float]:
    return [start + step * number for number in range(int((end - start) / step))]


def _configuration(folder: Path, ports: dict[tuple[str, str], int | None], app: str) -> dict[str, Any]:
    rules = folder / "rules"
    assert cli.main(["rules", "export", str(rules), "--faster", str(FASTER)]) == 0
    return {
        "global": dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), "1s"),
        "rule_files": [str(rules / "*.rules.yml")],
        "scrape_configs": [
            {
                "job_name": job,
                "static_configs": [
                    {"targets": [f"127.0.0.1:{port}"], "labels": {"instance": instance}}
                    for (of, instance), port in ports.items()
                    if of == job
                ],
                "metric_relabel_configs": [
                    # Other gunicorns of this machine are none of ours.
                    {"source_labels": ["app"], "regex": f"|{app}", "action": "keep"},
                    {"target_label": "job", "replacement": JOBS.get(job, job)},
                ],
            }
            for job in sorted({job for job, _ in ports})
        ],
    }


def _scraped(prometheus: Prometheus, times: int, targets: int) -> None:
    """Wait until all targets were scraped so many times more, each time with success."""
    since = time.time()

    def done() -> bool:
        query = f"sum_over_time(up[{max(1, math.ceil(time.time() - since))}s])"
        found = [float(series["value"][1]) for series in _ask(prometheus, "query", query=query)["result"]]
        return len(found) == targets and min(found) >= times

    until(done, 60 + times, f"{targets} targets are scraped {times} times")


def _harm(app: Gunicorn, told: Floodmark, *, may_kill_for_memory: bool) -> None:
    """Reload, then end workers in each way that a dashboard tells apart: in their slots come new ones."""
    app.process.send_signal(signal.SIGHUP)
    until(lambda: told.values("gunicorn_reloads_total", app=app.name).get(()), 30, "it is reloaded")
    _ended(app, told, "timeout", lambda: app.get("/slow/30.0", seconds=9))
    # The youngest: an old one may be recycled at that moment.
    _ended(app, told, "external_kill", lambda: os.kill(app.workers()[-1], signal.SIGKILL))
    if may_kill_for_memory:
        _ended(app, told, "oom_kill", lambda: app.get("/keep/400"))


def _ended(app: Gunicorn, told: Floodmark, cause: str, harm: Callable[[], None]) -> None:
    before = told.exits(app.name).get(cause, 0)
    until(lambda: len(app.workers()) == WORKERS, 30, "all workers run")
    harm()
    exits = functools.partial(told.exits, app.name)
    until(lambda: exits().get(cause, 0) > before, 30, f"a worker ends by {cause}, not only {exits()}")


@functools.cache
def _variables(stage: Stage, dashboard: str, *, all_of_them: bool) -> dict[str, str]:
    """Each variable as Grafana fills it in: at All, or with each value it offers chosen."""
    plain = json.loads((ROOT / "dashboards" / "json" / f"{dashboard}.json").read_text(encoding="utf-8"))
    filled: dict[str, str] = {}
    for each in plain["templating"]["list"]:
        if each["type"] != "query":
            continue
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", each["query"])
        assert found, each["query"]
        selector = _filled(found[1], INTERVAL, filled)
        span = {"start": stage.ended - RANGE, "end": stage.ended}
        offered = _ask(stage.prometheus, f"label/{found[2]}/values", **{"match[]": selector}, **span)
        chosen = "|".join(re.escape(value).replace("\\", r"\\") for value in offered)
        filled[each["name"]] = each["allValue"] if all_of_them or not offered else f"({chosen})"
    return filled


@pytest.mark.live
@pytest.mark.parametrize("chosen", ["all", "each"])
@pytest.mark.parametrize("asked", [*_asked()], ids=str)
def test_the_query_has_data(asked: Asked, chosen: str, stage: Stage) -> None:
    offered = _variables(stage, asked.dashboard, all_of_them=chosen == "all")
    variables = offered | ASKED_OF.get(asked.key, {})
    assert stage.values(asked, variables), _filled(asked.expr, asked.step, variables)


def test_each_exception_is_for_a_query_that_is_there() -> None:
    assert ASKED_OF.keys() <= {asked.key for asked in _asked()}
