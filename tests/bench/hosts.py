"""Many hosts for a Prometheus to scrape: one real exporter's page, whose counters go on as they did."""

from __future__ import annotations

import contextlib
import http.server
import re
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

import promql_parser
from prometheus_client.parser import text_string_to_metric_families

from tests.support.live import floodmark, gunicorn
from tests.support.promql import TARGET_LABELS, known

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

PACE = 5.0  # seconds between the two pages that tell how fast counters go

# What made-up series have; what rules ask for by name is found in them as well.
_VALUES = {"generation": ("0", "1", "2"), "status": ("200", "500"), "status_class": ("2xx", "5xx")}
_BUCKETS = ("0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "+Inf")
# An alert costs at each evaluation what its texts query: the hosts are well, whatever this machine does. What
# is made up is nothing, but for room that is left.
_ROOM = re.compile(r"free|avail|limit|balance|capacity|headroom|_max(?!_data)|max_data_size|_up$")
_PAUSES = re.compile(r"pause|live")
_IDLE = (
    (re.compile(r"node_load"), 0.1, 0.0),
    (re.compile(r"node_cpu_seconds_total{.*idle"), 1e6, 1.0),
    (re.compile(r"node_cpu_seconds_total{"), 1e4, 0.01),
    (re.compile(r"node_pressure_"), 100.0, 0.0),
)


class Page(NamedTuple):
    """A page's series: each with its value, and by how much it grows in a second."""

    series: Mapping[str, tuple[float, float]]
    made_up: int

    def at(self, seconds: float) -> bytes:
        """Return it as it is after so many seconds."""
        lines = (f"{name} {value + seconds * pace!r}\n" for name, (value, pace) in self.series.items())
        return "".join(lines).encode()


def page(folder: Path, workers: int, selectors: Iterable[promql_parser.VectorSelector]) -> Page:
    """Return the page of a gunicorn with the agent, with what this machine doesn't have made up.

    Args:
        folder: where logs go.
        workers: how many gunicorn has.
        selectors: what rules ask for; made-up series have the labels' values that are named there.
    """
    agent = ("--logger-class", "floodmark.agent.Logger", "--timeout", "60")
    with gunicorn("bench", folder, *agent, workers=workers) as app, floodmark(folder) as watcher:
        app.get("/")
        before, started = _samples(watcher.metrics(), app.name), time.monotonic()
        while time.monotonic() < started + PACE:
            app.get("/")
            time.sleep(0.1)
        after = _samples(watcher.metrics(), app.name)
        passed = time.monotonic() - started
        name = app.name
    series = {
        sample: (value, (value - before[sample][0]) / passed if counted and sample in before else 0.0)
        for sample, (value, counted) in after.items()
    }
    real = {re.split("{", sample)[0] for sample in series}
    values = {"app": (name,), "worker": tuple(map(str, range(workers))), **_VALUES}
    named: dict[str, dict[str, set[str]]] = {}
    for selector in selectors:
        for matcher in selector.matchers.matchers:
            named.setdefault(selector.name or "", {}).setdefault(matcher.name, set()).update(_plain(matcher))
    wanted = known()
    made_up = {
        sample: (_value(metric), 0.0)
        for metric, labels in wanted.items()
        if metric not in real
        for sample in _made_up(
            metric,
            {
                label: sorted({*values.get(label, ()), *named.get(metric, {}).get(label, ())}) or ["a", "b"]
                for label in sorted(labels - TARGET_LABELS)
            },
        )
    }
    idle = {
        sample: next(((value, pace) for pattern, value, pace in _IDLE if pattern.match(sample)), seen)
        for sample, seen in series.items()
    }
    return Page({**idle, **made_up}, len(made_up))


def _samples(text: str, app: str) -> dict[str, tuple[float, bool]]:
    """Return a page's samples without other apps': value, and whether it is of a kind that grows."""
    return {
        written(sample.name, sample.labels): (sample.value, family.type in ("counter", "histogram"))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("app", app) == app
    }


def written(name: str, labels: Mapping[str, str]) -> str:
    """Return a series as it is exposed."""
    escapes = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
    inside = ",".join(f'{key}="{value.translate(escapes)}"' for key, value in sorted(labels.items()))
    return f"{name}{{{inside}}}"


def _plain(matcher: promql_parser.Matcher) -> set[str]:
    """Return values that a matcher matches, as its text shows them: 500 of "5..", Old Gen of ".*Old Gen"."""
    if matcher.op == promql_parser.MatchOp.Equal:
        return {matcher.value} - {""}
    if matcher.op != promql_parser.MatchOp.Re:
        return set()
    values = matcher.value
    for pattern, text in ((r"\[.*?\]|\\d", "5"), (r"\.[*+]", ""), (r"(?<!\\)\.", "0"), (r"[\\*+?^$]", "")):
        values = re.sub(pattern, text, values)
    return set(re.split("[|()]", values)) - {""}


def _made_up(metric: str, values: Mapping[str, list[str]]) -> Iterator[str]:
    """Yield series that have each value of each label once at the least, and buckets."""
    given = {label: each for label, each in values.items() if label != "le"}
    for number in range(max(map(len, given.values()), default=1)):
        one = {label: each[number % len(each)] for label, each in given.items()}
        for bucket in _BUCKETS if metric.endswith("_bucket") else (None,):
            yield written(metric, one if bucket is None else {**one, "le": bucket})


def _value(metric: str) -> float:
    return 1e9 if _ROOM.search(metric) and not _PAUSES.search(metric) else 0.0


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, page: Page) -> None:
        self.page = page
        self.started = time.monotonic()
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, *_: object) -> None:
        """Say nothing: a Prometheus that ends leaves a scrape unread."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.server.page.at(time.monotonic() - self.server.started)
        self.send_response(http.HTTPStatus.OK)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving(page: Page) -> Iterator[int]:
    """Serve a page on a port, which is given."""
    with _Server(page) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
        thread.start()
        yield int(server.server_port)
        server.shutdown()
        thread.join()
