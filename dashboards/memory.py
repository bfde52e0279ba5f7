"""floodmark-memory: where does memory go?

The first screen says how full each app's memory is, whether its floor rises, and whether Python's collector
runs without it falling: incident I3, by Python's means. The collapsed rows say in which worker, in which
route, and what the host has to say of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from floodmark.catalogue import (
    GC_COLLECTIONS,
    GC_PAUSE,
    HEAP_BLOCKS,
    HEAP_LIVE_BLOCKS,
    HEAP_LIVE_BYTES,
    HEAP_MAX,
    HEAP_USED,
    MEMORY,
    MEMORY_HEADROOM,
    MEMORY_LIMIT,
    MEMORY_WAITING,
    ROUTE_BLOCKS,
    SWAP_IN,
    SWAP_OUT,
    WORKER_PROPORTIONAL,
    WORKER_RESIDENT,
    WORKER_SWAP,
    WORKERS,
)

from . import palette
from .host import memory_available, swap_in_use
from .panels import APP, HOST, WORKER, Json, Query, bargauge, dashboard, row, stat, threshold, timeseries
from .query import BY_APP, BY_HOST, count, news, rate, recorded, select

if TYPE_CHECKING:
    from .panels import Panel, Row

_HEAP = f"sum by ({BY_APP}) ({select(HEAP_USED)}) / (sum by ({BY_APP}) ({select(HEAP_MAX)}) > 0)"
_FULL = (
    f"1 - sum by ({BY_APP}) ({select(MEMORY_HEADROOM)}) / (sum by ({BY_APP}) ({select(MEMORY_LIMIT)}) > 0)"
)

# The floor of the app's memory, not the memory itself: max_requests makes a sawtooth of that, whose slope
# says nothing. It needs an hour to be one.
_FLOOR = recorded("app:gunicorn_memory_bytes:floor1h")
_GROWTH = f"(deriv({_FLOOR}[6h]) and {_FLOOR} offset 1h)"
_MONTH = 30 * 24 * 3600
FULL_IN = f"clamp_max(min({select(MEMORY_HEADROOM)} / on ({BY_APP}) clamp_min({_GROWTH}, 1)), {_MONTH})"

# Of the workers the largest: a sum falls with every recycle, as a newborn has no live set.
_LIVE = recorded("app:python_heap_live_blocks:max")
_PAUSED = f"sum by ({BY_APP}) ({rate(GC_PAUSE, '_sum')}) / sum by ({BY_APP}) ({select(WORKERS)} > 0)"


def build() -> Json:
    """The dashboard as classic JSON."""
    return dashboard(
        "floodmark-memory",
        "floodmark: where does memory go?",
        "How full, how fast it fills, in which worker and route, and what Python's collector leaves.",
        [*_first_screen(), _growing(), _workers(), _collector(), _routes(), _host()],
    )


def _first_screen() -> list[Panel]:
    return [
        stat(
            301,
            "Used of the limit",
            """Of the fullest app. Heap: what its workers' heaps take of the app's memory limit; pages that
            workers share under preload count in each, so it may pass 100 %. All: what can no longer be had of
            that limit, be it the app's or a neighbour's. Bad: yellow, where the alert MemoryFullSoon looks;
            red, where MemoryLow fires if it is the host's. All far above heap: look at the host, not at the
            app.""",
            Query(f"max({_HEAP})", "heap"),
            Query(f"max({_FULL})", "all"),
            unit="percentunit",
            decimals=1,
            width=8,
            scale=palette.MEMORY,
        ),
        stat(
            302,
            "Memory left",
            """The smallest headroom of any app before its limit, how fast the floor of its memory rises, and
            when it is used up at that pace; 30 days (4.3 weeks) stand for "not in sight". Bad: red, where
            MemoryFullSoon looks; yellow is within a week. No data: floodmark has known the app for less than
            an hour, or its rules aren't loaded.""",
            Query(f"min({select(MEMORY_HEADROOM)})", "headroom"),
            Query(f"3600 * max({_GROWTH})", "grows by, per hour"),
            Query(FULL_IN, "full in (6 h pace)", unit="s", scale=palette.TIME_LEFT),
            unit="bytes",
            decimals=1,
            width=11,
        ),
        stat(
            303,
            "Time in garbage collection",
            """Share of the workers' time in which the collector holds all threads, the worst app. Bad: red,
            where the alert PythonGcPauseHigh begins: requests wait for it. No data: no agent.""",
            Query(f"max({_PAUSED})", "paused"),
            unit="percentunit",
            decimals=1,
            width=5,
            scale=palette.rises("gc_pause_ratio"),
        ),
        stat(
            304,
            "Memory of all apps, by kind",
            """Resident counts pages that workers share once for each, proportional once in all: how far they
            are apart is what preload saves. Bad: swap above 0 on a server. No proportional: floodmark may not
            read it.""",
            Query(f"sum({select(MEMORY, kind='resident')})", "resident"),
            Query(f"sum({select(MEMORY, kind='proportional')})", "proportional"),
            Query(f"sum({select(MEMORY, kind='swap')})", "swap"),
            unit="bytes",
            decimals=1,
            width=9,
        ),
        stat(
            305,
            "GC in the last 6 hours",
            """Full collections of all workers, and by how much what they left in an app's largest worker grew
            in that time. Bad: GC ran, and it grew all the same: a leak. No growth: no
            full collection 6 hours ago, as in most workers that leak nothing; or no agent.""",
            Query(f"sum({count(GC_COLLECTIONS, generation='2', window='6h')})", "full GCs", unit="none"),
            Query(f"max({_LIVE} / {_LIVE} offset 6h) - 1", "left: grew by"),
            unit="percentunit",
            decimals=0,
            width=7,
        ),
        bargauge(
            306,
            "Blocks left behind, by route",
            """Estimate of the memory blocks that requests of a route left allocated, since its app started;
            the two worst. Bad: one far above the others: it leaks, or fills a cache. No data: no agent, or
            the app doesn't tell its routes.""",
            Query(f"topk(2, sum by (route) ({select(ROUTE_BLOCKS)}) > 0)", "{{route}}"),
            unit="short",
            width=8,
            height=3,
        ),
        timeseries(
            307,
            "Memory by kind, against the limit",
            """Memory of master and workers together; dashed is the limit, where the kernel kills. Resident
            counts shared pages once for each worker, proportional once in all. Bad: near dashed; swap above
            0 on a server.""",
            Query(f"sum by ({BY_APP}, kind) ({select(MEMORY)})", f"{{{{kind}}}} {APP}"),
            Query(f"min by ({BY_APP}) ({select(MEMORY_LIMIT)})", f"limit {APP}", line=palette.LIMIT),
            unit="bytes",
            colours=palette.MEMORY_KINDS,
        ),
        timeseries(
            308,
            "GC runs: does what it leaves grow?",
            """Memory blocks of the app's largest worker: all that are allocated, and those that its last full
            collection left, Python's old generation; a point where one ran. Bad: left climbs from point to
            point: GC runs, and what it leaves keeps growing: a leak. Allocated climbs alone: bytes and
            strings pile up, which no collector looks at. No left: no full collection yet, as in most workers
            that leak nothing. No data: no agent.""",
            Query(f"max by ({BY_APP}) ({select(HEAP_BLOCKS)})", f"allocated {APP}"),
            Query(_LIVE, f"left after GC {APP}"),
            Query(
                f"{_LIVE} and on ({BY_APP}) sum by ({BY_APP}) ({news(GC_COLLECTIONS, generation='2')})",
                f"GC ran {APP}",
                mark=palette.LEFT_AFTER_GC,
            ),
            unit="short",
            colours={"allocated": "blue", "left": palette.LEFT_AFTER_GC},
        ),
        timeseries(
            309,
            "Memory of each worker",
            """Resident memory by worker slot. A sawtooth is max_requests at work. Bad: lines that only rise
            (a leak), or one that leaps (a big upload or query).""",
            Query(f"sum by ({BY_APP}, worker) ({select(WORKER_RESIDENT)})", WORKER),
            unit="bytes",
        ),
    ]


def _growing() -> Row:
    return row(
        "The app: how fast does it fill, and does it fit?",
        timeseries(
            310,
            "Used of the limit, by app",
            """Share of each app's memory limit that can no longer be had, be it the app's or a neighbour's.
            Bad: a ramp that no restart brings down; at 100 % the kernel kills.""",
            Query(_FULL, APP),
            unit="percentunit",
            most=1,
        ),
        timeseries(
            311,
            "Headroom of the limit",
            """Share of each app's limit that is left, over an hour. Bad: a line that falls from day to day.
            Below dashed, and full within a day at its present pace: the alert MemoryFullSoon.""",
            Query(
                f"{recorded('app:gunicorn_memory_headroom_bytes:avg1h')}"
                f" / on ({BY_APP}) {select(MEMORY_LIMIT)}",
                APP,
            ),
            threshold("memory_headroom_ratio"),
            unit="percentunit",
        ),
        timeseries(
            312,
            "Growth per hour",
            """How fast the floor of the app's memory (the least of each hour) rises, over up to 6 hours: the
            sawtooth of recycling doesn't show. Bad: above 0 for hours. Headroom divided by this is the time
            left. In an app's first hour the floor can't rise yet.""",
            Query(f"3600 * {_GROWTH}", APP),
            unit="bytes",
            least=None,
        ),
        timeseries(
            313,
            "Floor against 6 hours ago",
            """Least memory of the last hour, as a multiple of the same 6 hours before: 1 is no growth. Bad:
            this and the panel beside above their dashed lines for an hour: the alert RssCreep. Needs 7 hours
            of data.""",
            Query(f"{_FLOOR} / ({_FLOOR} offset 6h > 0)", APP),
            threshold("rss_creep_ratio"),
            unit="none",
            least=None,
        ),
        timeseries(
            314,
            "Floor above 6 hours ago",
            """Least memory of the last hour less the same 6 hours before. Bad: this and the panel beside
            above their dashed lines for an hour: the alert RssCreep. Needs 7 hours of data.""",
            Query(f"{_FLOOR} - {_FLOOR} offset 6h", APP),
            threshold("rss_creep_bytes"),
            unit="bytes",
            least=None,
        ),
        timeseries(
            315,
            "If all workers grew to the largest",
            """What that would take more, as a share of what is left; apps that share a host's memory are
            counted together. Bad: above dashed: too many workers for this memory, the alert
            MemoryOvercommitted, though nothing leaks. No data: floodmark may not read proportional memory,
            or its rules aren't loaded.""",
            Query(
                f"{recorded('app:gunicorn_memory_bytes:ungrown_shared')}"
                f" / on ({BY_APP}) (sum by ({BY_APP}) ({select(MEMORY_HEADROOM)}) > 0)",
                APP,
            ),
            threshold("memory_budget_ratio"),
            unit="percentunit",
        ),
    )


def _workers() -> Row:
    return row(
        "Each worker: who holds it, and as what?",
        timeseries(
            316,
            "Heap of each worker",
            """Memory of Python's objects and of what C libraries take beside them. Bad: rises without end
            while the others stand still: that worker serves what leaks.""",
            Query(f"sum by ({BY_APP}, worker) ({select(HEAP_USED)})", WORKER),
            unit="bytes",
        ),
        timeseries(
            317,
            "What each worker costs",
            """Proportional memory by worker slot: a page that n workers share counts as an n-th of it, so the
            stack is what all of them really take. Bad: the stack near the app's limit. No data: floodmark may
            not read it; it needs root or CAP_SYS_PTRACE.""",
            Query(f"sum by ({BY_APP}, worker) ({select(WORKER_PROPORTIONAL)})", WORKER),
            unit="bytes",
            stack=True,
        ),
        timeseries(
            318,
            "Each worker in swap",
            """Memory of each worker slot that the kernel wrote to swap. Bad: all of them: memory is full and
            swap only delays the kill. A little, at rest, is harmless.""",
            Query(f"sum by ({BY_APP}, worker) ({select(WORKER_SWAP)})", WORKER),
            unit="bytes",
        ),
    )


def _collector() -> Row:
    before = "[1d] offset 6h"
    return row(
        "Python's collector: what does it leave, and what does it cost?",
        timeseries(
            319,
            "Left after GC, by worker",
            """Memory blocks that the last full collection of each worker slot left. Bad: all rise alike: what
            all serve leaks. One alone: what only it served, or a cache of its own. A fall is a recycle.""",
            Query(f"sum by ({BY_APP}, worker) ({select(HEAP_LIVE_BLOCKS)})", WORKER),
            unit="short",
        ),
        timeseries(
            320,
            "Heap, and what was left after GC",
            """In bytes: the largest worker's heap, and the memory of its own that it held after its
            last full collection: an upper bound of what lives. Bad: both rise while the blocks beside stand
            still: one object that grows, a C library, or a heap in pieces that can't be given back.""",
            Query(f"max by ({BY_APP}) ({select(HEAP_USED)})", f"heap {APP}"),
            Query(f"max by ({BY_APP}) ({select(HEAP_LIVE_BYTES)})", f"left {APP}"),
            unit="bytes",
            colours={"heap": "blue", "left": palette.LEFT_AFTER_GC},
        ),
        timeseries(
            321,
            "Left after GC, above the day before",
            """The most that full collections of 3 hours left, less the most of the day until 6 hours ago.
            Bad: above dashed, and the panel beside too: the alert PythonLiveSetGrowing. Needs 6 hours of
            data.""",
            Query(f"max_over_time({_LIVE}[3h]) - max_over_time({_LIVE}{before})", APP),
            threshold("live_set_growth_blocks"),
            unit="short",
            least=None,
        ),
        timeseries(
            322,
            "Left after GC, against 3 hours before",
            """The most that full collections of 3 hours left, as a multiple of the 3 hours before: 1 is
            no growth. Bad: above dashed for 6 hours, and the panel beside too: the alert
            PythonLiveSetGrowing.""",
            Query(f"max_over_time({_LIVE}[3h]) / max_over_time({_LIVE}[3h] offset 3h)", APP),
            threshold("live_set_growth_ratio"),
            unit="none",
            least=None,
        ),
        timeseries(
            323,
            "Time in GC, by app",
            """Share of each worker's time in which the collector holds all its threads. Bad: above dashed,
            the alert PythonGcPauseHigh: a large heap is walked again and again; gc.freeze() before the fork,
            or fewer cycles, help.""",
            Query(_PAUSED, APP),
            threshold("gc_pause_ratio"),
            unit="percentunit",
        ),
        timeseries(
            324,
            "Time in GC, by generation",
            """Seconds a second that all workers spend in collections of a generation; 2 is a full one. Bad: 2
            far above the others: what survives is large, and walked often.""",
            Query(f"sum by (generation) ({rate(GC_PAUSE, '_sum')})", "generation {{generation}}"),
            unit="percentunit",
            stack=True,
        ),
        timeseries(
            325,
            "Length of a collection, by generation",
            """Mean pause of a collection; every request in that worker waits so long. Bad: 2 (a full one)
            above what a user notices, 0.1 s: it grows with the heap. A gap: none ran.""",
            Query(
                f"sum by (generation) ({rate(GC_PAUSE, '_sum')})"
                f" / (sum by (generation) ({rate(GC_PAUSE, '_count')}) > 0)",
                "generation {{generation}}",
            ),
            unit="s",
            width=12,
        ),
        timeseries(
            326,
            "Collections a second, by generation",
            """Garbage collections of all workers; 2 is a full one. Bad: many full ones: what survives grows.
            None at all is normal: most objects need no collector.""",
            Query(f"sum by (generation) ({rate(GC_COLLECTIONS)})", "generation {{generation}}"),
            unit="none",
            width=12,
        ),
    )


def _routes() -> Row:
    left = f"sum by ({BY_APP}, route) ({select(ROUTE_BLOCKS)})"
    return row(
        "Routes: which one leaks?",
        bargauge(
            327,
            "Blocks that each route left behind",
            """Estimate of the memory blocks that requests of a route left allocated, since its app started.
            Bad: one route far above the others, and growing: it leaks, or fills a cache.""",
            Query(f"topk(10, {left} > 0)", f"{{{{route}}}} {APP}"),
            unit="short",
            width=12,
        ),
        timeseries(
            328,
            "Blocks left behind, over time",
            """The same over time, of the five worst routes at each moment. Bad: a line that goes on rising
            while the others have levelled off: a cache fills and stops, a leak doesn't.""",
            Query(f"topk(5, {left} > 0)", f"{{{{route}}}} {APP}"),
            unit="short",
            width=12,
        ),
    )


def _host() -> Row:
    return row(
        "The host: is memory short for all?",
        memory_available(329, width=6, height=7),
        swap_in_use(330, width=6),
        timeseries(
            331,
            "Swap traffic, pages/s",
            """Pages read back from swap (in) and written to it (out). Bad: both above dashed, the alert
            SwapThrashing: the host works for its own memory instead of for users.""",
            Query(f"sum by ({BY_HOST}) ({rate(SWAP_IN)})", f"in {HOST}"),
            Query(f"sum by ({BY_HOST}) ({rate(SWAP_OUT)})", f"out {HOST}"),
            threshold("swap_pages_rate"),
            unit="short",
            width=6,
            colours=palette.RESOURCES,
        ),
        timeseries(
            332,
            "Time waiting for memory",
            """Share of time in which some process waited for memory. Bad: above dashed, the alert
            MemoryPressure: slow before anything is killed. No data: the kernel keeps no pressure figures.""",
            Query(rate(MEMORY_WAITING), HOST),
            threshold("memory_waiting_ratio"),
            unit="percentunit",
            width=6,
        ),
    )
