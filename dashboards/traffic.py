"""floodmark-traffic: who waits, and how long?

A request waits twice: before a worker, as all are busy, and inside one, until its answer is out. The first
screen shows both; the collapsed rows say whose requests they are, and what the proxy makes of it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from floodmark.catalogue import (
    LISTEN_OVERFLOWS,
    REQUEST_BUSY,
    REQUEST_DURATION,
    REQUESTS,
    ROUTE_DURATION,
    ROUTE_REQUESTS,
    SETTING,
    SLOTS,
)
from floodmark.metric import Kind

from . import palette
from .outside import PROXY_DURATION, PROXY_GATEWAY_ERRORS, PROXY_REQUESTS
from .panels import APP, Json, Query, dashboard, heatmap, percentiles, row, stat, threshold, timeseries
from .query import BY_APP, BY_HOST, count, rate, recorded, select
from .query import threshold as threshold_series
from .workers import backlog, in_flight, worker_cpu

if TYPE_CHECKING:
    from .panels import Panel, Row

ROUTE = f"{{{{route}}}} {APP}"
SERVER = "{{server}}@{{instance}}"

# The recorded quantiles are NaN, not absent, while nothing is served.
WAIT = f"{recorded('app:gunicorn_request_queue_seconds:p95')} >= 0"
_SERVED_IN = f"{recorded('app:gunicorn_request_duration_seconds:p95')} >= 0"

# 502 and 504 among what each of the proxy's servers answered.
GATEWAY_ERRORS = (
    f"{recorded('server:proxy_gateway_errors:increase5m')}"
    f" / ({recorded('server:proxy_requests:increase5m')} > 0)"
)

_ARRIVALS = f"avg_over_time({recorded('app:gunicorn_requests:arrivals1m')}[5m])"
_CAPACITY = recorded("app:gunicorn_capacity:rate1d")
# CapacityExceeded goes by the rate that the owner has set; Inf is none, and then by what was measured.
_SET = threshold_series("capacity_requests_rate")
_TOO_MANY = (
    f"scalar({threshold_series('capacity_ratio')}) * {_CAPACITY} and on () {_SET} == Inf"
    f" or 0 * {_ARRIVALS} + scalar({_SET}) < Inf"
)

# The histogram's buckets, as the counters they are: by their upper bound. None is a whole number, which
# Prometheus 3 writes otherwise than 2.
_BUCKETS = dataclasses.replace(
    REQUEST_DURATION,
    name=f"{REQUEST_DURATION.name}_bucket",
    kind=Kind.COUNTER,
    labels=(*REQUEST_DURATION.labels, "le"),
)
_ALL = f"sum({rate(REQUEST_DURATION, '_count')})"
_SPEEDS = {
    "up to 0.1 s": "green",
    "0.1 to 0.5 s": "yellow",
    "0.5 to 2.5 s": "orange",
    "over 2.5 s": "red",
}

_STATUSES = {**palette.STATUSES, "unknown": "dark-red"}
_SIGNATURES = {"refused": "red", "worker_killed": "orange", "slow_upstream": "purple", "other": "#8e8e8e"}


def build() -> Json:
    """The dashboard as classic JSON."""
    return dashboard(
        "floodmark-traffic",
        "floodmark: who waits, and how long?",
        "How many requests come, how long they wait before a worker and inside it, and whose fail.",
        [*_first_screen(), _crowd(), _before(), _inside(), _errors(), _proxy()],
    )


def _first_screen() -> list[Panel]:
    return [
        stat(
            201,
            "Requests",
            """Requests answered a second over all that is selected; and what arrives at the app nearest to
            its limit, of what that app can serve by the last day's measure. Bad: red, where the alert
            CapacityExceeded begins. No data: gunicorn sends no StatsD here; capacity needs an hour of it.""",
            Query(f"sum({rate(REQUESTS)})", "now"),
            Query(
                f"max({_ARRIVALS} / {_CAPACITY})",
                "of usual capacity",
                unit="percentunit",
                scale=palette.rises("capacity_ratio"),
            ),
            unit="reqps",
        ),
        stat(
            202,
            "Who waits now",
            """Requests that no worker serves yet, over all that is selected. Bad: any for 2 minutes, which
            the alert RequestsQueueing tells; a moment of red is a burst. No data: floodmark may not look.""",
            Query(f"sum({recorded('app:gunicorn_requests_queued:sum')})", "waiting"),
            unit="none",
            width=4,
            scale=palette.NONE_IS_GOOD,
        ),
        how_long(203, width=6),
        stat(
            204,
            "Busy of all slots",
            """Share of what the busiest app can serve at once that is in use. Bad: red, where the alert
            WorkersSaturated begins: who comes next waits. No data: nobody can see what the workers do.""",
            Query(f"max({recorded('app:gunicorn_busy:ratio')})", "busy"),
            unit="percentunit",
            decimals=0,
            width=4,
            scale=palette.BUSY,
        ),
        failed(205, width=4),
        in_flight(206),
        timeseries(
            207,
            "How long before a worker, p95",
            """Nineteen of twenty requests waited less than this between the proxy and a worker. Bad: above a
            few milliseconds: all workers are busy. Above dashed for 2 minutes: the alert RequestsQueueing. No
            data: no agent, or the proxy sets neither X-Request-Start nor X-Queue-Start.""",
            Query(WAIT, APP),
            threshold("queue_wait_seconds"),
            unit="s",
            height=5,
        ),
        timeseries(
            208,
            "How long in a worker",
            """Half of all requests are served faster than p50, 95 % faster than p95, 99 % faster than p99.
            Bad: p50 rising: everybody waits. p99 alone rising: one slow thing, or a worker that hangs. p95
            of an app above dashed for 10 minutes: the alert SlowRequests. A gap: nothing was served.""",
            *percentiles(REQUEST_DURATION),
            threshold("slow_request_seconds"),
            unit="s",
            height=5,
            colours=palette.QUANTILES,
        ),
        timeseries(
            209,
            "Requests/s by status",
            """Answers a second by status code; unknown: the worker died on it. Bad: red growing. A stack that
            stays level while people wait is an app at its limit. 499 and 502 are the proxy's to tell.""",
            Query(f"sum by (status) ({rate(REQUESTS)})", "{{status}}"),
            unit="reqps",
            height=5,
            stack=True,
            colours=_STATUSES,
        ),
        timeseries(
            210,
            "Share of requests by duration",
            """Of all requests, how many took how long in a worker. Bad: red growing from the top; or green
            giving way to yellow and orange, as when each query of the database takes longer. A gap: nothing
            was served.""",
            *(Query(f"({part}) / ({_ALL} > 0)", name) for name, part in zip(_SPEEDS, _parts(), strict=True)),
            unit="percentunit",
            height=5,
            most=1,
            stack=True,
            colours=_SPEEDS,
        ),
        timeseries(
            212,
            "Slow routes, mean",
            """Mean duration of the requests of a route, the five slowest at each time. Bad: one that rises
            alone: look for its queries. All together share a cause: a database, a disk, a full CPU. A gap:
            nobody asked, or others were slower. No data: the app doesn't tell its routes.""",
            Query(f"topk(5, {_route_mean('route')})", "{{route}}"),
            unit="s",
            height=5,
        ),
    ]


def _parts() -> list[str]:
    """The rates of requests that took up to each bound, but longer than the one before; and of the rest."""
    up_to = [f"sum({rate(_BUCKETS, le=bound)})" for bound in ("0.1", "0.5", "2.5")]
    between = [f"{more} - {less}" for less, more in zip(up_to, [*up_to[1:], _ALL], strict=True)]
    return [up_to[0], *between]


def _route_mean(by: str) -> str:
    return f"sum by ({by}) ({rate(ROUTE_DURATION)}) / (sum by ({by}) ({rate(ROUTE_REQUESTS)}) > 0)"


def _crowd() -> Row:
    return row(
        "The crowd: more than usual, more than the app can take?",
        timeseries(
            213,
            "Requests/s against the usual",
            """Requests answered a second by each app, over 5 minutes. Bad: above dashed for a minute, some
            times the average of the last 6 hours: the alert TrafficSpike. No dashed line: the app has been
            known for less than an hour.""",
            Query(recorded("app:gunicorn_requests:rate5m"), APP),
            Query(
                f"clamp_min(scalar({threshold_series('traffic_spike_ratio')})"
                f" * {recorded('app:gunicorn_requests:avg6h')},"
                f" scalar({threshold_series('traffic_spike_rate')}))",
                f"alert threshold {APP}",
                line=palette.THRESHOLD,
            ),
            unit="reqps",
            width=12,
        ),
        timeseries(
            214,
            "Arrivals against capacity",
            """Requests that arrive a second at each app, answered or queued. Red dashed: what it can serve,
            by the slots and the CPU that a request took in the last day. Bad: above orange dashed for 2
            minutes: the alert CapacityExceeded. No capacity: known for less than an hour.""",
            Query(_ARRIVALS, APP),
            Query(_CAPACITY, f"capacity {APP}", line=palette.LIMIT),
            Query(_TOO_MANY, f"alert threshold {APP}", line=palette.THRESHOLD),
            unit="reqps",
            width=12,
        ),
    )


def _before() -> Row:
    return row(
        "Before a worker: whose requests wait, where, and who is turned away?",
        timeseries(
            215,
            "Waiting requests by app",
            """Requests of each app that no worker serves yet, wherever they wait. Bad: above 0 for 2 minutes:
            the alert RequestsQueueing. No data: floodmark may not look.""",
            Query(recorded("app:gunicorn_requests_queued:sum"), APP),
            unit="none",
        ),
        timeseries(
            211,
            "Busy of all slots, by app",
            """Share of what each app can serve at once that is in use. Bad: level at 100 %: who comes next
            waits. Above dashed for 5 minutes: the alert WorkersSaturated. No data: nobody can see what the
            workers do.""",
            Query(recorded("app:gunicorn_busy:ratio"), APP),
            threshold("workers_busy_ratio"),
            unit="percentunit",
        ),
        timeseries(
            216,
            "Requests served at once, on average",
            """Seconds of work a second, by the agent, with those requests that have no answer yet or never
            got one; dashed are the slots. Bad: near dashed: the next request waits. No data: no agent.""",
            Query(f"sum by ({BY_APP}) ({rate(REQUEST_BUSY)})", APP),
            Query(f"sum by ({BY_APP}) ({select(SLOTS)})", f"slots {APP}", line=palette.LIMIT),
            unit="none",
        ),
        backlog(217, width=8),
        timeseries(
            218,
            "Listen queue overflows",
            """Connections the kernel dropped as an application's queue was full: users who saw nothing but a
            time-out. Bad: any; the alert ListenOverflow.""",
            Query(f"sum by ({BY_HOST}) ({count(LISTEN_OVERFLOWS)})", "{{instance}}"),
            unit="none",
            draw="bars",
            every="1m",
        ),
    )


def _inside() -> Row:
    return row(
        "Inside a worker: whose requests are slow, and do they compute or wait?",
        heatmap(
            235,
            "How long each request took in a worker",
            """Requests a second (colour) by how long they took (height), of all that is selected. Bad: colour
            that moves up: all get slower. A second band far above the first: some requests wait for something
            that others don't need. A band at gunicorn's timeout: workers are killed on them. A gap: nothing
            was served.""",
            f"sum by (le) ({rate(REQUEST_DURATION, '_bucket')})",
            unit="s",
            cells="reqps",
        ),
        timeseries(
            219,
            "Duration by app, p95",
            """Nineteen of twenty requests of each app were served faster than this, over 5 minutes. Bad:
            above dashed for 10 minutes: the alert SlowRequests. A gap: nothing was served.""",
            Query(_SERVED_IN, APP),
            threshold("slow_request_seconds"),
            unit="s",
        ),
        timeseries(
            220,
            "Do they compute or wait?",
            """Requests in work at once on average, and how many CPUs their workers use for it. Bad: many at
            work on few CPUs: they wait for a database, a disk or another service. Both high: the code or the
            host is too slow.""",
            Query(recorded("app:gunicorn_request_seconds:rate5m"), f"at work {APP}"),
            Query(recorded("app:gunicorn_cpu_seconds:rate5m"), f"CPUs used {APP}"),
            unit="none",
        ),
        worker_cpu(221, width=8),
        timeseries(
            222,
            "Mean duration by route",
            """Mean duration of the requests of a route, the ten slowest at each time. Bad: one that rises
            alone: its queries. All that rise together share a cause: a database, a disk, a full CPU. A gap:
            nobody asked. No data: the app doesn't tell its routes.""",
            Query(f"topk(10, {_route_mean(f'{BY_APP}, route')})", ROUTE),
            unit="s",
        ),
        timeseries(
            223,
            "Seconds of work a second, by route",
            """How many of its requests a route keeps in work at once, the ten that keep the most. Bad: one
            that grows while its requests don't. No data: the app doesn't tell its routes.""",
            Query(f"topk(10, sum by ({BY_APP}, route) ({rate(ROUTE_DURATION)}))", ROUTE),
            unit="none",
            stack=True,
        ),
        timeseries(
            224,
            "Requests/s by route",
            """Answers a second of a route, the ten that are asked for most. Bad: one that grows alone: a
            robot, or a page that reloads. No data: the app doesn't tell its routes.""",
            Query(f"topk(10, sum by ({BY_APP}, route) ({rate(ROUTE_REQUESTS)}))", ROUTE),
            unit="reqps",
            stack=True,
        ),
    )


def _errors() -> Row:
    burn = [
        Query(
            f"{threshold_series(f'budget_burn_{pace}')} * {threshold_series('error_budget_ratio')}",
            f"alert threshold, {window}",
            line=palette.THRESHOLD,
        )
        for pace, window in (("fast", "1 h"), ("slow", "6 h"))
    ]
    return row(
        "Errors: whose requests fail, and since when?",
        timeseries(
            225,
            "Share of failed requests by app",
            """Share of each app's requests in 5 minutes that were answered with 5xx or that their worker died
            on. Bad: this and the panel beside above their dashed lines for 5 minutes: the alert ErrorRate. A
            gap: nothing was served.""",
            Query(recorded("app:gunicorn_errors:ratio5m"), APP),
            threshold("error_ratio"),
            unit="percentunit",
            width=6,
        ),
        timeseries(
            226,
            "Failed requests in 5 minutes",
            """How many requests of each app failed in 5 minutes. Bad: this and the panel beside above their
            dashed lines. Few failures under a line are a large share only at night.""",
            Query(recorded("app:gunicorn_errors:increase5m"), APP),
            threshold("failed_requests"),
            unit="none",
            width=6,
        ),
        timeseries(
            227,
            "Failed of the last 1 and 6 hours",
            """Share of each app's requests that failed, over the last hour and the last 6. Bad: above the
            dashed line of its own window: at that pace the errors that a month may have are spent in days,
            and the alert ErrorBudgetBurn fires.""",
            Query(recorded("app:gunicorn_errors:ratio1h"), f"1 h {APP}"),
            Query(recorded("app:gunicorn_errors:ratio6h"), f"6 h {APP}"),
            *burn,
            unit="percentunit",
            width=6,
        ),
        timeseries(
            228,
            "5xx/s by route",
            """Answers with 5xx a second, of the ten routes with the most. Bad: any. One route: its code; all
            of them: what they share. No data: no 5xx yet, or the app doesn't tell its routes.""",
            Query(f"topk(10, sum by ({BY_APP}, route) ({rate(ROUTE_REQUESTS, status='5xx')}))", ROUTE),
            unit="reqps",
            width=6,
            stack=True,
        ),
    )


def _proxy() -> Row:
    by = f"{BY_HOST}, server"
    # The mean: buckets from 10 to 30 and to 60 seconds don't tell a timeout of 30 from one of 60.
    seconds, requests = (rate(PROXY_DURATION, part, status_class="5xx") for part in ("_sum", "_count"))
    return row(
        "Proxy: what visitors see (has data once floodmark reads the JSON access log of nginx or Caddy)",
        timeseries(
            229,
            "502 and 504 by what they look like",
            """Each bar: requests that the proxy gave up on. refused: no gunicorn listens. worker_killed: its
            worker died on it. slow_upstream: the proxy waited no longer. Bad: any. No data: no such error
            yet, or floodmark doesn't read the proxy's log.""",
            Query(f"sum by (signature) ({count(PROXY_GATEWAY_ERRORS)})", "{{signature}}"),
            unit="none",
            draw="bars",
            every="1m",
            colours=_SIGNATURES,
        ),
        timeseries(
            230,
            "How long failed requests lasted, mean",
            """Mean time after which visitors got a 5xx. Dashed: gunicorn's worker timeout. Bad: level at
            dashed: workers are killed by their timeout, not for want of memory; they wait for something. Near
            0: nobody listens. No data: no 5xx, or floodmark doesn't read the proxy's log.""",
            Query(f"sum by ({by}) ({seconds}) / (sum by ({by}) ({requests}) > 0)", SERVER),
            Query(
                f"max by ({BY_APP}) ({select(SETTING, setting='timeout')})",
                f"timeout {APP}",
                line=palette.LIMIT,
            ),
            unit="s",
        ),
        timeseries(
            231,
            "How long visitors waited",
            """Time of a request as its visitor saw it, the wait before a worker included. Bad: far above "How
            long in a worker": the rest is waiting before one, or a slow network. No data: floodmark doesn't
            read the proxy's log.""",
            *percentiles(PROXY_DURATION),
            unit="s",
            colours=palette.QUANTILES,
        ),
        timeseries(
            232,
            "Requests/s by status, at the proxy",
            """Answers a second by status code, those that never reached gunicorn too. Bad: 502 or 504; 499:
            visitors went away before their answer. No data: floodmark doesn't read the proxy's log.""",
            Query(f"sum by (status) ({rate(PROXY_REQUESTS)})", "{{status}}"),
            unit="reqps",
            stack=True,
            colours=palette.STATUSES,
        ),
        timeseries(
            233,
            "Share of 502 and 504 by server",
            """Share of each server's requests in 5 minutes that the proxy answered with 502 or 504. Bad: this
            and the panel beside above their dashed lines for a minute: the alert GatewayErrors. No data: no
            such error yet, or floodmark doesn't read the proxy's log.""",
            Query(GATEWAY_ERRORS, SERVER),
            threshold("gateway_error_ratio"),
            unit="percentunit",
        ),
        timeseries(
            234,
            "502 and 504 in 5 minutes",
            """How many requests to each server the proxy answered with 502 or 504 in 5 minutes. Bad: this and
            the panel beside above their dashed lines. No data: as there.""",
            Query(recorded("server:proxy_gateway_errors:increase5m"), SERVER),
            threshold("gateway_errors"),
            unit="none",
        ),
    )


def how_long(number: int, width: int) -> Panel:
    """What a visitor waits for: a worker, and then for its answer."""
    return stat(
        number,
        "How long, p95 (slowest app)",
        """Nineteen of twenty requests waited less than this before a worker, and were served in less
        than this by it: visitors wait for both together. Bad: red, where the alerts RequestsQueueing and
        SlowRequests begin; of the first, anything above a few milliseconds. No data: as in the graphs
        below.""",
        Query(f"max({WAIT})", "before a worker", scale=palette.rises("queue_wait_seconds")),
        Query(f"max({_SERVED_IN})", "in a worker", scale=palette.SLOW),
        unit="s",
        width=width,
    )


def failed(number: int, width: int) -> Panel:
    """What visitors got instead of an answer."""
    return stat(
        number,
        "Failed, 5 min",
        """Share of the last 5 minutes' requests, of the worst app, that were answered with 5xx or that
        their worker died on. Bad: yellow, more than the error budget has; red, where the alert ErrorRate
        begins. No data: nothing was served, which can be worse.""",
        Query(f"max({recorded('app:gunicorn_errors:ratio5m')})", "failed"),
        unit="percentunit",
        decimals=1,
        width=width,
        scale=palette.ERRORS,
    )
