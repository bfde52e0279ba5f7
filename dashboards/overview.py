"""floodmark-overview: will it hold?

The first screen answers it: what comes in, how it is served, who died of what, and which tier has the
least left. The other dashboards say more of each; below is what floodmark itself can see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from floodmark.catalogue import (
    COLLECTOR_SUCCESS,
    EXITS,
    IN_FLIGHT,
    MEM_AVAILABLE,
    MEM_TOTAL,
    MEMORY_HEADROOM,
    MEMORY_LIMIT,
    REQUEST_DURATION,
    REQUESTS,
    SLOTS,
    SOURCE_AVAILABLE,
    UP,
    WORKERS,
)

from . import palette
from .database import DATABASE_USED
from .host import CPU_BUSY, DISK_USED, STEAL, SWAP_USED
from .memory import FULL_IN
from .panels import APP, Json, Query, dashboard, percentiles, row, stat, table, timeseries
from .query import BY_APP, FIRING, UNWANTED, at_most, count, rate, recorded, select
from .query import threshold as threshold_series
from .traffic import GATEWAY_ERRORS, failed, how_long
from .workers import deaths_today, settings, workers_now

if TYPE_CHECKING:
    from .panels import Panel, Row

_NOW = f"sum({rate(REQUESTS)})"

_BUSY_SLOTS = f"sum by ({BY_APP}) ({select(IN_FLIGHT)}) / (sum by ({BY_APP}) ({select(SLOTS)}) > 0)"
_BUSY_WORKERS = (
    f"sum by ({BY_APP}) ({select(WORKERS, state='busy')})"
    f" / (sum by ({BY_APP}) ({select(WORKERS, state='=~busy|idle')}) > 0)"
)
# Little's law, where nobody sees what a worker is doing: seconds of work a second, of slots to do it in.
_BUSY_BY_LITTLE = (
    f"sum by ({BY_APP}) ({rate(REQUEST_DURATION, '_sum')}) / sum by ({BY_APP}) ({select(SLOTS)})"
)
_MEMORY_USED = (
    f"1 - {select(MEM_AVAILABLE)} / {select(MEM_TOTAL)}"
    f" or 1 - {select(MEMORY_HEADROOM)} / {select(MEMORY_LIMIT)}"
)


def build() -> Json:
    """The dashboard as classic JSON."""
    return dashboard(
        "floodmark-overview",
        "floodmark: will it hold?",
        "What comes in, how it is served, who died of what, and which tier has the least left.",
        [*_first_screen(), _sight()],
    )


def _first_screen() -> list[Panel]:
    return [
        stat(
            1,
            "Requests",
            """Requests served a second over all that is selected, and at this time yesterday. Bad: many
            times yesterday's, or none where yesterday had some. No data: gunicorn sends no StatsD here.""",
            Query(_NOW, "now"),
            Query(f"sum({rate(REQUESTS, offset='1d')})", "yesterday"),
            unit="reqps",
            width=5,
        ),
        failed(2, width=3),
        how_long(3, width=5),
        workers_now(4, width=3),
        deaths_today(5, width=5),
        stat(
            6,
            "Alerts firing",
            """Alerts that fire now; the row at the bottom lists them. Bad: any. No data: Prometheus doesn't
            evaluate floodmark's rules, so nobody would be told.""",
            Query(f"count({FIRING}) or 0 * {threshold_series('disk_queue_depth')}", "firing"),
            unit="none",
            width=3,
            scale=palette.NONE_IS_GOOD,
        ),
        stat(
            7,
            "Which tier is the bottleneck?",
            """How much of each is used up, the worst of what is selected: the highest is it. Workers:
            requests in flight of slots. CPU: all but idle and waiting for a disk, steal included. Memory: of
            the host or of the app's limit. Against the alert, which begins at 100 %: the host's disk (queue
            and await); the database (its disk's queue, connections, CPU by a host's alert); the proxy's 502
            and 504; 999 % is ten times as much, or more. Bad: red, where the alerts of each begin; yellow is
            near it. One that lacks isn't measured here.""",
            Query(
                f"max({_BUSY_SLOTS} or {_BUSY_WORKERS} or {_BUSY_BY_LITTLE})", "Workers", scale=palette.BUSY
            ),
            Query(f"max({CPU_BUSY})", "CPU", scale=palette.CPU),
            Query(f"max({_MEMORY_USED})", "Memory", scale=palette.MEMORY),
            Query(at_most(f"max({DISK_USED})"), "Disk", scale=palette.OF_ALERT),
            Query(at_most(f"max({DATABASE_USED})"), "Database", scale=palette.OF_ALERT),
            Query(
                at_most(f"max({GATEWAY_ERRORS}) / {threshold_series('gateway_error_ratio')}"),
                "Proxy",
                scale=palette.OF_ALERT,
            ),
            unit="percentunit",
            decimals=0,
            width=12,
        ),
        stat(
            8,
            "Memory left",
            """The smallest headroom of any app before its limit, and when it is used up if the floor of its
            memory goes on rising as in the last 6 hours; 30 days (4.3 weeks) stand for "not in sight". Bad:
            red, where the alert MemoryFullSoon looks; yellow is within a week. No data: floodmark has known
            the app for less than an hour.""",
            Query(f"min({select(MEMORY_HEADROOM)})", "headroom"),
            Query(FULL_IN, "full in (6 h pace)", unit="s", scale=palette.TIME_LEFT),
            unit="bytes",
            decimals=1,
            width=7,
        ),
        stat(
            12,
            "Host",
            """Share of the worst host's CPU time that the hypervisor gave to others (steal), and swap in use
            on all hosts. Bad: steal in red, where the alert CpuSteal begins: credits are spent, no code of
            yours is the cause. Swap that grows: memory is full.""",
            Query(f"max({STEAL})", "steal", unit="percentunit", scale=palette.rises("cpu_steal_ratio")),
            Query(SWAP_USED, "swap"),
            unit="bytes",
            decimals=0,
            width=5,
        ),
        timeseries(
            9,
            "Requests/s against yesterday",
            """Requests served a second; grey is the same time yesterday. Dashed: the rate from which the
            alert TrafficSpike fires; red what the apps can serve, as their own last day says. Bad: far above
            grey, near red; or a fall to nothing while people still come.""",
            Query(_NOW, "now"),
            Query(f"sum({rate(REQUESTS, offset='1d')})", "yesterday"),
            Query(
                f"clamp_min(scalar({threshold_series('traffic_spike_ratio')})"
                f" * sum(avg_over_time({recorded('app:gunicorn_requests:rate5m')}[6h])),"
                f" scalar({threshold_series('traffic_spike_rate')}))",
                "alert threshold",
                line=palette.THRESHOLD,
            ),
            Query(f"sum({recorded('app:gunicorn_capacity:rate1d')})", "capacity", line=palette.LIMIT),
            unit="reqps",
            colours=palette.TRAFFIC,
        ),
        timeseries(
            10,
            "Latency",
            """Half of all requests are served faster than p50, 95 % faster than p95, 99 % faster than p99.
            Bad: p50 rising: everybody waits. p99 alone rising: one slow thing, or a worker that hangs.""",
            *percentiles(REQUEST_DURATION),
            unit="s",
            colours=palette.QUANTILES,
        ),
        timeseries(
            11,
            "Worker deaths by cause",
            """Each bar: workers that died then, by the true cause. Bad: any; a fence of bars is a crash
            loop. What came just before, in the graphs beside and below, is where to look.""",
            Query(f"sum by (cause) ({count(EXITS, cause=UNWANTED)})", "{{cause}}"),
            unit="none",
            draw="bars",
            every="1m",
            colours=palette.CAUSES,
            name_zeros=False,
        ),
    ]


def _sight() -> Row:
    working = {1: ("ok", "green"), 0: ("failing", "red")}
    return row(
        "What fires, and what floodmark can see",
        table(
            36,
            "Alerts firing",
            "Each alert that fires now. Bad: any row; no row is only good while the top of the page says 0.",
            f"sum by (alertname, severity, app, instance) ({FIRING})",
        ),
        settings(37, width=12),
        stat(
            38,
            "Apps",
            "Whether a gunicorn master of each app runs. Bad: down, unless it was stopped on purpose.",
            Query(f"min by ({BY_APP}) ({select(UP)})", APP),
            unit="none",
            width=6,
            height=5,
            words={1: ("up", "green"), 0: ("down", "red")},
        ),
        stat(
            40,
            "Collectors",
            "Whether each collector worked in the last scrape. Bad: failing: its panels show nothing.",
            Query(f"min by (collector) ({select(COLLECTOR_SUCCESS)})", "{{collector}}"),
            unit="none",
            width=18,
            height=5,
            words=working,
        ),
        stat(
            39,
            "Sources",
            """What floodmark may read. Bad: missing: some causes of death can't be proven then; `floodmark
            check` names the grant that is wanted.""",
            Query(f"min by (source) ({select(SOURCE_AVAILABLE)})", "{{source}}"),
            unit="none",
            width=24,
            height=5,
            words={1: ("ok", "green"), 0: ("missing", "orange")},
        ),
    )
