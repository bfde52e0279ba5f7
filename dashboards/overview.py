"""floodmark-overview: will it hold?

The first screen answers it: what comes in, how it is served, who died of what, and which tier has the
least left. The collapsed rows below say more of each, in the same order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from floodmark.catalogue import (
    BACKLOG,
    BACKLOG_LIMIT,
    BOOTS,
    COLLECTOR_SUCCESS,
    CPU_SECONDS,
    CPU_WAITING,
    DISK_IO_TIME_WEIGHTED,
    DISK_READ_TIME,
    DISK_READS,
    DISK_WRITE_TIME,
    DISK_WRITES,
    EXITS,
    FS_AVAIL,
    FS_SIZE,
    GC_COLLECTIONS,
    GC_PAUSE,
    HEAP_BLOCKS,
    HEAP_LIVE_BLOCKS,
    IN_FLIGHT,
    IO_WAITING,
    LAST_DEATH,
    LISTEN_OVERFLOWS,
    LOAD1,
    MEM_AVAILABLE,
    MEM_TOTAL,
    MEMORY,
    MEMORY_HEADROOM,
    MEMORY_LIMIT,
    MEMORY_WAITING,
    RELOADS,
    REQUEST_BUSY,
    REQUEST_DURATION,
    REQUEST_QUEUE,
    REQUESTS,
    REQUESTS_QUEUED,
    ROUTE_BLOCKS,
    ROUTE_DURATION,
    ROUTE_REQUESTS,
    SETTING,
    SIGKILLS,
    SLOTS,
    SOURCE_AVAILABLE,
    SWAP_FREE,
    SWAP_IN,
    SWAP_OUT,
    SWAP_TOTAL,
    UP,
    WORKER_CPU,
    WORKER_HEARTBEAT,
    WORKER_RESIDENT,
    WORKER_START,
    WORKERS,
    WORKERS_TARGET,
)

from . import palette
from .panels import Json, Query, bargauge, dashboard, row, stat, table, threshold, timeseries
from .query import FIRING, UNWANTED, count, quantile, rate, recorded, select
from .query import threshold as threshold_series

if TYPE_CHECKING:
    from .panels import Panel, Row

BY_APP = "job, instance, app"
BY_HOST = "job, instance"
APP = "{{app}}@{{instance}}"

# Copies of memory, not devices; and what sits on top of a device that is counted already.
_DEVICES = "!~(loop|zram|ram|dm-|md|sr).*"
_IN_MEMORY = "!~ramfs|tmpfs"

_NOW = f"sum({rate(REQUESTS)})"
_SERVED = f"(sum({rate(REQUESTS)}) > 0)"
# No series of a status exists until the first such answer: no 5xx among answers is 0, no answers is nothing.
_ERROR_SHARE = f"(sum({rate(REQUESTS, status='=~5..')}) or 0 * {_SERVED}) / {_SERVED}"

_DEATHS_TODAY = f"sum by (cause) ({count(EXITS, cause=UNWANTED, window='24h')})"

_BUSY_SLOTS = f"sum by ({BY_APP}) ({select(IN_FLIGHT)}) / (sum by ({BY_APP}) ({select(SLOTS)}) > 0)"
_BUSY_WORKERS = (
    f"sum by ({BY_APP}) ({select(WORKERS, state='busy')})"
    f" / (sum by ({BY_APP}) ({select(WORKERS, state='=~busy|idle')}) > 0)"
)
# Little's law, where nobody sees what a worker is doing: seconds of work a second, of slots to do it in.
_BUSY_BY_LITTLE = (
    f"sum by ({BY_APP}) ({rate(REQUEST_DURATION, '_sum')}) / sum by ({BY_APP}) ({select(SLOTS)})"
)
_CPU_BUSY = (
    f"1 - sum by ({BY_HOST}) ({rate(CPU_SECONDS, mode='=~idle|iowait')})"
    f" / sum by ({BY_HOST}) ({rate(CPU_SECONDS)})"
)
_MEMORY_USED = (
    f"1 - {select(MEM_AVAILABLE)} / {select(MEM_TOTAL)}"
    f" or 1 - {select(MEMORY_HEADROOM)} / {select(MEMORY_LIMIT)}"
)
_QUEUE = rate(DISK_IO_TIME_WEIGHTED, device=_DEVICES)
_AWAIT = (
    f"({rate(DISK_READ_TIME, device=_DEVICES)} + {rate(DISK_WRITE_TIME, device=_DEVICES)})"
    f" / ({rate(DISK_READS, device=_DEVICES)} + {rate(DISK_WRITES, device=_DEVICES)} > 0)"
)
# The alert wants both, so the smaller of the two shares says how near it is. A disk at rest has no await.
_QUEUE_SHARE = f"{_QUEUE} / scalar({threshold_series('disk_queue_depth')})"
_AWAIT_SHARE = f"{_AWAIT} / scalar({threshold_series('disk_await_seconds')})"
_DISK = f"({_QUEUE_SHARE} < {_AWAIT_SHARE}) or {_AWAIT_SHARE} or {_QUEUE_SHARE}"

# The floor of the app's memory, not the memory itself: max_requests makes a sawtooth of that, whose slope
# says nothing. It needs an hour to be one.
_FLOOR = recorded("app:gunicorn_memory_bytes:floor1h")
_GROWTH = f"deriv({_FLOOR}[6h])"
_MONTH = 30 * 24 * 3600
_FULL_IN = (
    f"clamp_max(min({select(MEMORY_HEADROOM)}"
    f" / on ({BY_APP}) clamp_min({_GROWTH} and {_FLOOR} offset 1h, 1)), {_MONTH})"
)


def build() -> Json:
    """The dashboard as classic JSON."""
    return dashboard(
        "floodmark-overview",
        "floodmark: will it hold?",
        "What comes in, how it is served, who died of what, and which tier has the least left.",
        [*_first_screen(), _requests(), _workers(), _memory(), _runtime(), _host(), _disk(), _sight()],
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
        stat(
            2,
            "Errors (5xx)",
            """Share of requests answered with a 5xx status. Bad: anything but 0 % for long; yellow
            from 1 %, red from 5 %. No data: nothing was served, which can be worse than errors.""",
            Query(_ERROR_SHARE, "5xx"),
            unit="percentunit",
            decimals=1,
            width=3,
            scale=palette.LOST,
        ),
        stat(
            3,
            "Latency p95",
            """Nineteen of twenty requests were served faster than this, from the worker's first look to the
            last byte; time spent waiting for a worker comes on top. Bad: near the worker timeout.""",
            Query(quantile(REQUEST_DURATION, 0.95), "p95"),
            unit="s",
            width=3,
        ),
        stat(
            4,
            "Workers",
            """Live workers, and how many are missing to the number configured. Bad: any missing for more
            than the moments a restart takes.""",
            Query(f"sum({select(WORKERS)})", "live"),
            Query(
                f"clamp_min(sum({select(WORKERS_TARGET)}) - sum({select(WORKERS)}), 0)",
                "missing",
                scale=palette.NONE_IS_GOOD,
            ),
            unit="none",
            width=4,
        ),
        stat(
            5,
            "Deaths in 24 h, by cause",
            """Workers that ended without being asked to, by the true cause; recycles, reloads and shutdowns
            are not counted. Bad: any. oom_kill: memory ran out. timeout: workers waited for something.""",
            Query(
                f'{_DEATHS_TODAY} > 0 or label_replace(sum({_DEATHS_TODAY}) == 0, "cause", "none", "", "")',
                "{{cause}}",
            ),
            unit="none",
            width=6,
            scale=palette.NONE_IS_GOOD,
        ),
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
            "Which tier is the bottleneck? The highest one",
            """How much of each is used up, the worst app, host and disk of what is selected. 100 % is all
            of it. Workers: requests in flight of slots. CPU: all but idle and waiting for a disk, steal
            included. Memory: of the host or of the app's limit. Disk: queue and await against the
            thresholds of the alert DiskQueueHigh, which fires from 100 %. Bad: yellow from 70 %, red from
            90 %.""",
            Query(f"max({_BUSY_SLOTS} or {_BUSY_WORKERS} or {_BUSY_BY_LITTLE})", "Workers"),
            Query(f"max({_CPU_BUSY})", "CPU"),
            Query(f"max({_MEMORY_USED})", "Memory"),
            Query(f"max({_DISK})", "Disk"),
            unit="percentunit",
            decimals=0,
            width=14,
            scale=palette.SATURATION,
        ),
        stat(
            8,
            "Memory left",
            """The smallest headroom of any app before its limit, and when it is used up if the floor of its
            memory goes on rising as in the last 6 hours; 30 days (4.3 weeks) stand for "not in sight". Bad:
            under a day. No data: floodmark has known the app for less than an hour.""",
            Query(f"min({select(MEMORY_HEADROOM)})", "headroom"),
            Query(_FULL_IN, "full in", unit="s", scale=palette.TIME_LEFT),
            unit="bytes",
            decimals=1,
            width=10,
        ),
        timeseries(
            9,
            "Requests/s against yesterday",
            """Requests served a second; grey is the same time yesterday. Dashed: the rate from which the
            alert TrafficSpike fires. Bad: far above grey; or a fall to nothing while people still come.""",
            Query(_NOW, "now"),
            Query(f"sum({rate(REQUESTS, offset='1d')})", "yesterday"),
            Query(
                f"clamp_min(scalar({threshold_series('traffic_spike_ratio')})"
                f" * sum(avg_over_time({recorded('app:gunicorn_requests:rate5m')}[6h])),"
                f" scalar({threshold_series('traffic_spike_rate')}))",
                "alert threshold",
                line=palette.THRESHOLD,
            ),
            unit="reqps",
            colours=palette.TRAFFIC,
        ),
        timeseries(
            10,
            "Latency",
            """Half of all requests are served faster than p50, 95 % faster than p95, 99 % faster than p99.
            Bad: p50 rising: everybody waits. p99 alone rising: one slow thing, or a worker that hangs.""",
            *(Query(quantile(REQUEST_DURATION, q), f"p{q * 100:.0f}") for q in (0.5, 0.95, 0.99)),
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


def _requests() -> Row:
    return row(
        "Requests: what is answered, and at what cost?",
        timeseries(
            12,
            "Requests/s by status",
            "Answers a second by status code. Bad: red (5xx) growing; 499 and 502 are the proxy's to tell.",
            Query(f"sum by (status) ({rate(REQUESTS)})", "{{status}}"),
            unit="reqps",
            stack=True,
            colours=palette.STATUSES,
        ),
        timeseries(
            13,
            "Error share by app",
            "Share of 5xx among each app's answers. Bad: above 1 % for minutes. A gap: nothing was served.",
            Query(
                f"(sum by ({BY_APP}) ({rate(REQUESTS, status='=~5..')})"
                f" or 0 * sum by ({BY_APP}) ({rate(REQUESTS)}))"
                f" / (sum by ({BY_APP}) ({rate(REQUESTS)}) > 0)",
                APP,
            ),
            unit="percentunit",
        ),
        timeseries(
            14,
            "CPU of each worker",
            """CPU each worker slot uses; 100 % is one whole CPU. Bad: all near 100 %: the host is too small
            or the code too dear. All near 0 while requests wait: they wait for a database or a disk.""",
            Query(f"sum by ({BY_APP}, worker) ({rate(WORKER_CPU)})", f"{APP} {{{{worker}}}}"),
            unit="percentunit",
        ),
        timeseries(
            43,
            "Waiting before a worker, p95",
            """Nineteen of twenty requests waited less than this between the proxy and a worker. Bad: above a
            few milliseconds: all workers are busy, and users wait that much longer than Latency says. No
            data: no agent, or the proxy sets neither X-Request-Start nor X-Queue-Start.""",
            Query(
                f"histogram_quantile(0.95, sum by ({BY_APP}, le) ({rate(REQUEST_QUEUE, '_bucket')})) >= 0",
                APP,
            ),
            unit="s",
        ),
        timeseries(
            44,
            "Requests served at once, on average",
            """Seconds of work a second, by the agent, with those requests that have no answer yet or never
            got one; dashed are the slots. Bad: near dashed: the next request waits.""",
            Query(f"sum by ({BY_APP}) ({rate(REQUEST_BUSY)})", APP),
            Query(f"sum by ({BY_APP}) ({select(SLOTS)})", f"slots {APP}", line=palette.LIMIT),
            unit="none",
        ),
        timeseries(
            45,
            "Seconds of work a second, by route",
            """How many of its requests each route keeps in work at once. Bad: one that grows while its
            requests don't. No data: the app doesn't tell its routes.""",
            Query(f"sum by ({BY_APP}, route) ({rate(ROUTE_DURATION)})", f"{{{{route}}}} {APP}"),
            unit="none",
            stack=True,
        ),
        timeseries(
            46,
            "Requests/s by route",
            "Answers a second of each route. Bad: one that grows alone: a robot, or a page that reloads.",
            Query(f"sum by ({BY_APP}, route) ({rate(ROUTE_REQUESTS)})", f"{{{{route}}}} {APP}"),
            unit="reqps",
            stack=True,
        ),
    )


def _workers() -> Row:
    return row(
        "Workers: who dies, and of what?",
        timeseries(
            15,
            "Workers by state",
            """Live workers by what they do; dashed is the number configured. Bad: the stack below the dashed
            line, or all of it busy. Unknown is not idle: nobody can see it here.""",
            Query(f"sum by (state) ({select(WORKERS)})", "{{state}}"),
            Query(f"sum({select(WORKERS_TARGET)})", "configured", line=palette.LIMIT),
            unit="none",
            stack=True,
            colours=palette.WORKER_STATES,
            name_zeros=False,
        ),
        timeseries(
            41,
            "Requests in flight, and those that wait",
            """In flight: requests that workers serve; dashed are the slots they have for it. Waiting: listen,
            nobody has accepted them; worker, accepted by a gthread worker without a free thread. Bad: waiting
            above 0 for long: users wait that much longer. No data: floodmark may not look.""",
            Query(f"sum({select(IN_FLIGHT)})", "in flight"),
            Query(f"sum by (where) ({select(REQUESTS_QUEUED)})", "waiting: {{where}}"),
            Query(f"sum({select(SLOTS)})", "slots", line=palette.LIMIT),
            unit="none",
        ),
        timeseries(
            42,
            "Listen backlog",
            """Connections that wait to be accepted, by address; dashed is how many may. Bad: above 0 for
            long: all workers are busy. At dashed users are turned away (Listen queue overflows).""",
            Query(f"sum by ({BY_APP}, listener) ({select(BACKLOG)})", f"{{{{listener}}}} {APP}"),
            Query(
                f"min by ({BY_APP}, listener) ({select(BACKLOG_LIMIT)})",
                f"limit {{{{listener}}}} {APP}",
                line=palette.LIMIT,
            ),
            unit="none",
        ),
        bargauge(
            16,
            "All exits in 24 h, by cause",
            """Every end of a worker, asked for (blue) or not. max_requests is the recycling: it costs boots,
            not users. Bad: any other colour; oom_kill and timeout need different cures.""",
            Query(f"sort_desc(sum by (cause) ({count(EXITS, window='24h')}))", "{{cause}}"),
            unit="none",
            colours=palette.CAUSES,
            height=14,
        ),
        timeseries(
            17,
            "Heartbeat age against timeout",
            """Time since the most silent worker of each app told its master that it lives. At the dashed
            line, its timeout, gunicorn kills it. Bad: a ramp towards the line: that worker hangs.""",
            Query(f"max by ({BY_APP}) ({select(WORKER_HEARTBEAT)})", APP),
            Query(
                f"max by ({BY_APP}) ({select(SETTING, setting='timeout')})",
                f"timeout {APP}",
                line=palette.LIMIT,
            ),
            unit="s",
        ),
        timeseries(
            18,
            "Boots, reloads and kill signals",
            """Workers started, reloads asked for, and workers ended by signal 9, whoever sent it. Bad: boots
            without reloads or recycles: workers come and go. Signal 9 is not yet out of memory: the cause is
            in the panel beside.""",
            Query(f"sum({count(BOOTS)})", "boots"),
            Query(f"sum({count(RELOADS)})", "reloads"),
            Query(f"sum({count(SIGKILLS)})", "signal 9"),
            unit="none",
            every="1m",
            draw="bars",
            colours={"boots": "green", "reloads": "light-blue", "signal 9": "dark-red"},
        ),
        table(
            51,
            "Last deaths",
            """The last unwanted death of each app in the last 15 minutes, and what the worker was doing: the
            innermost call of the app's own code where the agent saw it. Bad: any; floodmark why has more.""",
            f"sum by (app, instance, cause, confidence, doing) ({select(LAST_DEATH)})",
        ),
        timeseries(
            19,
            "Age of each worker",
            """Time each worker slot has lived; a fall to 0 is a restart. Bad: all falling at once (recycles
            without jitter), or a slot that never grows old (a crash loop).""",
            Query(f"time() - max by ({BY_APP}, worker) ({select(WORKER_START)})", f"{APP} {{{{worker}}}}"),
            unit="s",
        ),
    )


def _memory() -> Row:
    return row(
        "Memory of the app: how much, and is it growing?",
        timeseries(
            20,
            "Memory by kind",
            """Memory of master and workers together; dashed is the limit, where the kernel kills. Resident
            counts shared pages once for each worker, proportional once in all. Bad: near dashed; swap above
            0 on a server.""",
            Query(f"sum by ({BY_APP}, kind) ({select(MEMORY)})", f"{{{{kind}}}} {APP}"),
            Query(f"min by ({BY_APP}) ({select(MEMORY_LIMIT)})", f"limit {APP}", line=palette.LIMIT),
            unit="bytes",
            colours=palette.MEMORY_KINDS,
        ),
        timeseries(
            21,
            "Memory headroom",
            """Memory left to each app before its cgroup or the host has no more. Bad: under one worker's
            size: the next one started, or the next upload, brings the kernel's OOM killer.""",
            Query(f"min by ({BY_APP}) ({select(MEMORY_HEADROOM)})", APP),
            unit="bytes",
        ),
        timeseries(
            22,
            "Memory of each worker",
            """Resident memory by worker slot. A sawtooth is max_requests at work. Bad: lines that only rise
            (a leak), or one that leaps (a big upload or query).""",
            Query(f"sum by ({BY_APP}, worker) ({select(WORKER_RESIDENT)})", f"{APP} {{{{worker}}}}"),
            unit="bytes",
        ),
        timeseries(
            23,
            "Growth per hour",
            """How fast the floor of the app's memory (the least of each hour) rises, over up to 6 hours: the
            sawtooth of recycling doesn't show. Bad: above 0 for hours. Headroom divided by this is the time
            left. In an app's first hour the floor can't rise yet.""",
            Query(f"3600 * {_GROWTH}", APP),
            unit="bytes",
            least=None,
        ),
        timeseries(
            24,
            "Floor against 6 hours ago",
            """Least memory of the last hour, as a multiple of the same 6 hours before: 1 is no growth. Bad:
            this and the panel beside above their dashed lines for an hour: the alert RssCreep. Needs 7 hours
            of data.""",
            Query(f"{_FLOOR} / {_FLOOR} offset 6h", APP),
            threshold("rss_creep_ratio"),
            unit="none",
            least=None,
        ),
        timeseries(
            25,
            "Floor above 6 hours ago",
            """Least memory of the last hour less the same 6 hours before. Bad: this and the panel beside
            above their dashed lines for an hour: the alert RssCreep. Needs 7 hours of data.""",
            Query(f"{_FLOOR} - {_FLOOR} offset 6h", APP),
            threshold("rss_creep_bytes"),
            unit="bytes",
            least=None,
        ),
    )


def _runtime() -> Row:
    return row(
        "Python runtime: does the heap grow although garbage is collected?",
        timeseries(
            47,
            "Allocated blocks, and what is live after a full collection",
            """Memory blocks of Python objects in all workers; dashed is what was left after the last full
            collection of each. Bad: dashed that rises step by step: collections run, and what they leave
            keeps growing: a leak. Solid far above dashed is garbage, or growth since. No dashed line: no full
            collection yet, as in most workers that leak nothing.""",
            Query(f"sum by ({BY_APP}) ({select(HEAP_BLOCKS)})", f"allocated {APP}"),
            Query(f"sum by ({BY_APP}) ({select(HEAP_LIVE_BLOCKS)})", f"live {APP}", line=palette.LIMIT),
            unit="short",
        ),
        timeseries(
            48,
            "Time in garbage collection",
            """Share of each worker's time in which the collector holds all its threads. Bad: above 5 %: a
            large heap is walked again and again; gc.freeze() before the fork, or fewer cycles, help.""",
            Query(
                f"sum by ({BY_APP}) ({rate(GC_PAUSE, '_sum')}) / sum by ({BY_APP}) ({select(WORKERS)} > 0)",
                APP,
            ),
            unit="percentunit",
        ),
        timeseries(
            49,
            "Collections a second, by generation",
            """Garbage collections of all workers; 2 is a full one. Bad: many full ones: what survives grows.
            None at all is normal: most objects need no collector.""",
            Query(f"sum by (generation) ({rate(GC_COLLECTIONS)})", "{{generation}}"),
            unit="none",
        ),
        bargauge(
            50,
            "Blocks that each route left behind",
            """Estimate of the memory blocks that requests of a route left allocated, since its app started.
            Bad: one route far above the others, and growing: it leaks, or fills a cache.""",
            Query(f"topk(10, sum by (route) ({select(ROUTE_BLOCKS)}))", "{{route}}"),
            unit="short",
        ),
    )


def _host() -> Row:
    cpus = f"count by ({BY_HOST}) ({rate(CPU_SECONDS, mode='idle')})"
    return row(
        "Host: CPU and memory",
        timeseries(
            26,
            "CPU by mode",
            """Share of all CPUs by what they do; the rest is idle. Bad: the stack at 100 %. Red (steal) is
            taken by the cloud: credits are spent. Orange (iowait) is no work: it waits for a disk.""",
            Query(
                f"sum by (mode) ({rate(CPU_SECONDS, mode='!~idle|guest.*')})"
                f" / on () group_left () sum({rate(CPU_SECONDS, mode='!~guest.*')})",
                "{{mode}}",
            ),
            unit="percentunit",
            most=1,
            stack=True,
            colours=palette.CPU_MODES,
            name_zeros=False,
        ),
        timeseries(
            27,
            "Load per CPU",
            """Processes that run, want to run or wait for a disk, for each CPU. Bad: above 1 for minutes:
            work queues up. High load with idle CPU is a disk.""",
            Query(f"{select(LOAD1)} / on ({BY_HOST}) {cpus}", "{{instance}}"),
            unit="none",
        ),
        timeseries(
            28,
            "Pressure",
            """Share of time in which some process could not go on for want of CPU, memory or disk. Bad: any
            of memory; of CPU and disk, above 20 % for minutes. No data: the kernel has it switched off.""",
            Query(f"max({rate(CPU_WAITING)})", "cpu"),
            Query(f"max({rate(MEMORY_WAITING)})", "memory"),
            Query(f"max({rate(IO_WAITING)})", "disk"),
            unit="percentunit",
            colours=palette.RESOURCES,
        ),
        timeseries(
            29,
            "Memory available",
            """Memory the host can give to new work without swapping; dashed is all it has. Bad: under 10 %
            of it.""",
            Query(f"sum by ({BY_HOST}) ({select(MEM_AVAILABLE)})", "{{instance}}"),
            Query(f"sum by ({BY_HOST}) ({select(MEM_TOTAL)})", "all of {{instance}}", line=palette.LIMIT),
            unit="bytes",
        ),
        timeseries(
            30,
            "Swap in use",
            """Swap taken; dashed is its size, at 0 where there is none. Bad: growing with every hour: memory
            is full and swap only delays the kill. A little, at rest, is harmless.""",
            Query(f"{select(SWAP_TOTAL)} - {select(SWAP_FREE)}", "{{instance}}"),
            Query(f"sum by ({BY_HOST}) ({select(SWAP_TOTAL)})", "size on {{instance}}", line=palette.LIMIT),
            unit="bytes",
        ),
        timeseries(
            31,
            "Swap traffic, pages/s",
            """Pages read back from swap (in) and written to it (out), a second. Bad: both at once: thrashing,
            the host works for its own memory instead of for users.""",
            Query(f"sum({rate(SWAP_IN)})", "in"),
            Query(f"sum({rate(SWAP_OUT)})", "out"),
            unit="short",
            colours=palette.RESOURCES,
        ),
    )


def _disk() -> Row:
    return row(
        "Host: disk and network",
        timeseries(
            32,
            "Disk queue depth",
            """Average number of requests queued or in service at each disk. A healthy one stays under 0.5.
            Bad: above the dashed line, with await above its own: what asks the disk waits in a queue.""",
            Query(_QUEUE, "{{device}} {{instance}}"),
            threshold("disk_queue_depth"),
            unit="none",
            width=6,
        ),
        timeseries(
            33,
            "Disk await",
            """Average time a read or write takes, its wait in the queue included. Bad: above the dashed line
            together with the queue. A gap: nothing was read or written.""",
            Query(_AWAIT, "{{device}} {{instance}}"),
            threshold("disk_await_seconds"),
            unit="s",
            width=6,
        ),
        bargauge(
            34,
            "Free space",
            """Share of each file system that ordinary users can still fill. Bad: under 10 %; at 0 a database
            stops and logs are lost.""",
            Query(
                f"{select(FS_AVAIL, fstype=_IN_MEMORY)} / ({select(FS_SIZE, fstype=_IN_MEMORY)} > 0)",
                "{{mountpoint}} {{instance}}",
            ),
            unit="percentunit",
            most=1,
            width=6,
            scale=palette.FREE,
        ),
        timeseries(
            35,
            "Listen queue overflows",
            """Connections the kernel dropped as an application's queue was full: users who saw nothing but a
            time-out. Bad: any.""",
            Query(f"sum by ({BY_HOST}) ({count(LISTEN_OVERFLOWS)})", "{{instance}}"),
            unit="none",
            width=6,
            draw="bars",
            every="1m",
        ),
    )


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
        table(
            37,
            "Settings",
            """Numeric settings of each app as far as they can be known from outside. Bad: max_requests 0 with
            growing memory; max_requests_jitter 0 makes workers restart together.""",
            f"sum by (app, instance, setting) ({select(SETTING)})",
            value="value",
        ),
        stat(
            38,
            "Apps",
            "Whether a gunicorn master of each app runs. Bad: down, unless it was stopped on purpose.",
            Query(f"min by ({BY_APP}) ({select(UP)})", APP),
            unit="none",
            width=8,
            height=5,
            words={1: ("up", "green"), 0: ("down", "red")},
        ),
        stat(
            39,
            "Sources",
            """What floodmark may read. Bad: missing: some causes of death can't be proven then; `floodmark
            check` names the grant that is wanted.""",
            Query(f"min by (source) ({select(SOURCE_AVAILABLE)})", "{{source}}"),
            unit="none",
            width=8,
            height=5,
            words={1: ("ok", "green"), 0: ("missing", "orange")},
        ),
        stat(
            40,
            "Collectors",
            "Whether each collector worked in the last scrape. Bad: failing: its panels show nothing.",
            Query(f"min by (collector) ({select(COLLECTOR_SUCCESS)})", "{{collector}}"),
            unit="none",
            width=8,
            height=5,
            words=working,
        ),
    )
