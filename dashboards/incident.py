"""floodmark-incident: what happened? One tall time line, read from the top to the bottom for a post-mortem.

Every graph is as wide as the page, so that one moment stands on one vertical line: what came in, who waited,
what ran out, who died, what visitors saw, and whether a disk or the database was behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from floodmark.catalogue import (
    BUILD_INFO,
    CPU_SECONDS,
    EXITS,
    LISTEN_OVERFLOWS,
    MEM_AVAILABLE,
    MEM_TOTAL,
    MEMORY_HEADROOM,
    MEMORY_LIMIT,
    REQUESTS,
    REQUESTS_QUEUED,
    SWAP_FREE,
    SWAP_IN,
    SWAP_OUT,
    SWAP_TOTAL,
    WORKERS,
    WORKERS_TARGET,
)

from . import palette
from .host import DISK_QUEUE
from .outside import DB_CONNECTIONS, DB_CPU, DB_QUEUE, JVM_USED, PG_ACTIVITY, PG_MAX_CONNECTIONS
from .panels import APP, HOST, Json, Panel, Query, Row, dashboard, row, threshold, timeseries
from .query import BY_APP, BY_HOST, FIRING, count, rate, recorded, select
from .query import threshold as threshold_series

if TYPE_CHECKING:
    from collections.abc import Mapping

DATABASE = "{{database}} {{service}}"
_HEIGHT = 6

# Recycles and scaling are everyday life; what is left are deaths, and what deploys do.
_NEWS = "!~max_requests|scale_down"

# The alert wants both: a multiple of what is usual, and a rate that is worth it.
_SPIKE = (
    f"clamp_min(scalar({threshold_series('traffic_spike_ratio')})"
    f" * {recorded('app:gunicorn_requests:avg6h')},"
    f" scalar({threshold_series('traffic_spike_rate')}))"
)


def build() -> Json:
    """The dashboard as classic JSON."""
    return dashboard(
        "floodmark-incident",
        "floodmark: what happened?",
        "One time line from the first visitor to the last disk: set the time, then read downwards.",
        [*_time_line(), _more()],
        targets=(BUILD_INFO, PG_ACTIVITY, JVM_USED),
    )


def _line(  # noqa: PLR0913 - what differs between them is exactly this
    number: int,
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    most: float | None = None,
    colours: Mapping[str, str] | None = None,
) -> Panel:
    """Lines as wide as the page, on its one time line."""
    return timeseries(
        number, title, description, *queries, unit=unit, width=24, height=_HEIGHT, most=most, colours=colours
    )


def _time_line() -> list[Panel]:
    return [
        _line(
            161,
            "1. What came in? Requests/s",
            """Arriving: served, and what the queue grew by. Orange dashed: where the alert TrafficSpike
            fires; red: what the app can serve, as its own last day says. Bad: arriving above orange, or near
            red. A gap here and below: floodmark or the whole host didn't answer.""",
            Query(
                f"sum by ({BY_APP}) ({recorded('app:gunicorn_requests:arrivals1m')})"
                f" or sum by ({BY_APP}) ({rate(REQUESTS)})",
                f"arriving {APP}",
            ),
            Query(_SPIKE, f"alert threshold {APP}", line=palette.THRESHOLD),
            Query(recorded("app:gunicorn_capacity:rate1d"), f"capacity {APP}", line=palette.LIMIT),
            unit="reqps",
        ),
        _line(
            162,
            "2. Who waited? The queue",
            """Left: connections that nobody serves yet (listen: not accepted; worker: accepted, no thread).
            Right: how long 95 % of requests waited at most, where the proxy sets X-Request-Start; dashed
            is its alert threshold. Bad: above 0 for long. Did it rise before the deaths, or after?""",
            Query(f"sum by ({BY_APP}, where) ({select(REQUESTS_QUEUED)})", f"waiting: {{{{where}}}} {APP}"),
            Query(recorded("app:gunicorn_request_queue_seconds:p95"), f"p95 wait {APP}", unit="s"),
            Query(
                threshold_series("queue_wait_seconds"),
                "p95 wait: alert threshold",
                line=palette.THRESHOLD,
                unit="s",
            ),
            unit="none",
        ),
        _line(
            163,
            "3. What was busy? Workers and CPU",
            """Share of request slots in use, of CPU in use, and of CPU the cloud took away (steal). Dashed:
            alert thresholds. Bad: workers at 100 % with CPU at rest: they waited for a database or a disk.
            Both at 100 %: the host is too small. Steal: CPU credits are spent.""",
            Query(recorded("app:gunicorn_busy:ratio"), f"workers {APP}"),
            Query(recorded("instance:node_cpu_busy_ratio:rate5m"), f"CPU {HOST}"),
            Query(
                f"avg by ({BY_HOST}) (sum by ({BY_HOST}, cpu) ({rate(CPU_SECONDS, mode='steal')}))",
                f"steal {HOST}",
            ),
            threshold("workers_busy_ratio", "workers: alert threshold"),
            threshold("cpu_busy_ratio", "CPU: alert threshold"),
            unit="percentunit",
            most=1,
            colours={"CPU": palette.RESOURCES["cpu"], "steal": palette.CPU_MODES["steal"]},
        ),
        _line(
            164,
            "4. Did memory run out?",
            """Share in use: of each app's limit, of the host's memory, of its swap, of the JVM's heap.
            Dashed: where the alert MemoryLow fires. Bad: a rise to 100 % before oom_kill below. Far from it
            at a death: memory was not why, whatever gunicorn's log says.""",
            Query(
                f"1 - min by ({BY_APP}) ({select(MEMORY_HEADROOM)} / {select(MEMORY_LIMIT)})", f"app {APP}"
            ),
            Query(f"1 - {select(MEM_AVAILABLE)} / {select(MEM_TOTAL)}", f"host {HOST}"),
            Query(f"1 - {select(SWAP_FREE)} / ({select(SWAP_TOTAL)} > 0)", f"swap {HOST}"),
            Query(f"max by ({BY_HOST}) ({recorded('jvm:heap_used:ratio')})", f"heap {HOST}"),
            Query(
                f"1 - {threshold_series('memory_available_ratio')}",
                "host: alert threshold",
                palette.THRESHOLD,
            ),
            unit="percentunit",
            most=1,
            colours={
                "app": "blue",
                "host": palette.RESOURCES["memory"],
                "swap": palette.MEMORY_KINDS["swap"],
                "heap": "yellow",
            },
        ),
        timeseries(
            165,
            "5. Who died, and of what? Who deployed?",
            """Each bar: workers that ended then, by the true cause. Blue was asked for: reload and shutdown
            are deploys and restarts; recycles are left out. Bad: any other colour. Blue just before it: look
            at what was deployed.""",
            Query(f"sum by ({BY_APP}, cause) ({count(EXITS, cause=_NEWS)})", f"{{{{cause}}}} {APP}"),
            unit="none",
            width=24,
            height=_HEIGHT,
            draw="bars",
            every="1m",
            colours=palette.CAUSES,
            name_zeros=False,
        ),
        _line(
            166,
            "6. What did visitors see? Errors",
            """Share of failed answers within 5 minutes: 5xx of the app, 502 and 504 of the proxy. Dashed:
            alert thresholds. Bad: above them. The proxy's alone: workers died on requests or were too
            late. A gap: nothing was served.""",
            Query(recorded("app:gunicorn_errors:ratio5m"), f"app {APP}"),
            Query(
                f"sum by ({BY_HOST}) ({recorded('server:proxy_gateway_errors:increase5m')})"
                f" / (sum by ({BY_HOST}) ({recorded('server:proxy_requests:increase5m')}) > 0)",
                f"proxy {HOST}",
            ),
            threshold("error_ratio", "app: alert threshold"),
            threshold("gateway_error_ratio", "proxy: alert threshold"),
            unit="percentunit",
            colours={"proxy": "purple"},
        ),
        _line(
            167,
            "7. Was it the host's disk? Queue depth",
            """Average number of requests queued or in service at each disk. A healthy one stays under 0.5.
            Bad: above the dashed line, before the queue of requests above grew.""",
            Query(DISK_QUEUE, "{{device}} {{instance}}"),
            threshold("disk_queue_depth"),
            unit="none",
        ),
        _line(
            168,
            "8. Was it the database?",
            """Left: requests queued at the database's disk; dashed: its alert threshold. Right: its CPU, and
            connections of those it takes. Bad: a queue that rises before the workers were busy. All at
            rest: it was not the database, and a bigger one won't help. No data: floodmark reads no cloud
            database, and no postgres_exporter is scraped.""",
            Query(select(DB_QUEUE), f"disk queue {DATABASE}"),
            threshold("db_disk_queue_depth", "disk queue: alert threshold"),
            Query(select(DB_CPU), f"CPU {DATABASE}", unit="percentunit"),
            Query(
                f"sum by ({BY_HOST}) ({select(PG_ACTIVITY, backend_type='=~|client backend')})"
                f" / max by ({BY_HOST}) ({select(PG_MAX_CONNECTIONS)})",
                f"connections {HOST}",
                unit="percentunit",
            ),
            unit="none",
            colours={"disk queue": "yellow", "CPU": palette.RESOURCES["cpu"], "connections": "purple"},
        ),
    ]


def _more() -> Row:
    return row(
        "More on the same time line",
        timeseries(
            169,
            "Alerts while they fired",
            """Alerts that fired, by name, on top of each other. Bad: any; the first one is nearest to the
            cause. Nothing, in an incident: no rule saw it, or none was evaluated.""",
            Query(f"count by (alertname) ({FIRING})", "{{alertname}}"),
            unit="none",
            width=24,
            stack=True,
        ),
        _line(
            170,
            "Latency p95",
            """95 % of requests were served within this, time in the queue not included. Dashed: its alert
            threshold. Bad: a ramp to the worker timeout.""",
            Query(recorded("app:gunicorn_request_duration_seconds:p95"), APP),
            threshold("slow_request_seconds"),
            unit="s",
        ),
        _line(
            171,
            "Workers missing",
            "Workers configured, less those that live. Bad: above 0 for more than a restart takes.",
            Query(
                f"clamp_min(sum by ({BY_APP}) ({select(WORKERS_TARGET)})"
                f" - sum by ({BY_APP}) ({select(WORKERS)}), 0)",
                APP,
            ),
            unit="none",
        ),
        timeseries(
            172,
            "Connections turned away",
            """Connections the kernel dropped as a listen queue was full: visitors who saw nothing but a
            time-out. Bad: any.""",
            Query(f"sum by ({BY_HOST}) ({count(LISTEN_OVERFLOWS)})", HOST),
            unit="none",
            width=24,
            height=_HEIGHT,
            draw="bars",
            every="1m",
        ),
        _line(
            173,
            "Swap traffic, pages/s",
            """Pages read back from swap and written to it, a second. Bad: both above the dashed line, where
            the alert SwapThrashing fires: the host works for its own memory.""",
            Query(f"sum by ({BY_HOST}) ({rate(SWAP_IN)})", f"in {HOST}"),
            Query(f"sum by ({BY_HOST}) ({rate(SWAP_OUT)})", f"out {HOST}"),
            threshold("swap_pages_rate"),
            unit="short",
        ),
        _line(
            174,
            "Connections to the cloud database",
            """Connections that the database of the cloud has open. Bad: a leap with the workers' queue: they
            hold them while they wait, or each worker opens its own. No data: floodmark reads none.""",
            Query(select(DB_CONNECTIONS), DATABASE),
            unit="none",
        ),
    )
