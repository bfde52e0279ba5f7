"""floodmark-jvm: where does memory go, and what is used up? The same for Spring Boot, by Micrometer's names.

The first screen is incident I3 read in a minute: a heap that is full although it is collected, and which of
CPU, heap, threads and database connections ran out. The collapsed rows say more of each, in the same order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import palette
from .outside import (
    HIKARI_ACTIVE,
    HIKARI_MAX,
    HIKARI_PENDING,
    HIKARI_TIMEOUTS,
    HTTP,
    HTTP_MAX,
    JVM_CPU,
    JVM_HOST_CPU,
    JVM_LIVE,
    JVM_LIVE_MAX,
    JVM_MAX,
    JVM_PAUSE_COUNT,
    JVM_PAUSE_MAX,
    JVM_PAUSE_SUM,
    JVM_THREAD_STATES,
    JVM_THREADS,
    JVM_USED,
    TOMCAT_BUSY,
    TOMCAT_MAX,
)
from .panels import Json, Query, bargauge, dashboard, row, stat, threshold, timeseries
from .query import count, rate, recorded, select
from .query import threshold as threshold_series

if TYPE_CHECKING:
    from .panels import Panel, Row

BY_JVM = "job, instance, application"
JVM = "{{application}}@{{instance}}"

# Each collector has its own names: serial, parallel, G1, and ZGC of both kinds.
_OLD = "=~.*(Old Gen|Tenured Gen|Old Generation)|ZHeap"
_POOLS = {
    "(G1 |PS |Par )?Eden": "light-blue",
    "(G1 |PS |Par )?Survivor": "blue",
    "((G1 |PS |CMS |ZGC )?Old|Tenured)": "purple",
}
_TIERS = {
    "CPU": "blue",
    "heap": "purple",
    "GC": "yellow",
    "threads": "green",
    "database": "light-blue",
}
_STATES = {
    "runnable": "green",
    "blocked": "red",
    "waiting": "light-blue",
    "timed-waiting": "blue",
    "new": "yellow",
    "terminated": "#8e8e8e",
}

_HEAP = recorded("jvm:heap_used:ratio")
_LEFT = recorded("jvm:old_gen_after_gc:ratio")
_PAUSED = recorded("jvm:gc_overhead:ratio")
_SIZE = f"max by ({BY_JVM}) ({select(JVM_LIVE_MAX)} > 0)"
_LENT = f"{select(HIKARI_ACTIVE)} / ({select(HIKARI_MAX)} > 0)"
_BUSY = f"{select(TOMCAT_BUSY)} / ({select(TOMCAT_MAX)} > 0)"

# Without the scrapes of Prometheus itself, which would be an app's only requests at night.
_USERS = "!~/actuator.*"
_NOW = f"sum({rate(HTTP, '_count', uri=_USERS)})"
_SERVED = f"({_NOW} > 0)"
# No series of a status exists until the first such answer: no 5xx among answers is 0, no answers is nothing.
_ERROR_SHARE = f"(sum({rate(HTTP, '_count', uri=_USERS, status='=~5..')}) or 0 * {_SERVED}) / {_SERVED}"
_MEAN = f"sum({rate(HTTP, '_sum', uri=_USERS)}) / {_SERVED}"
_SLOWEST = f"max({select(HTTP_MAX, uri=_USERS)})"


def build() -> Json:
    """The dashboard as classic JSON."""
    return dashboard(
        "floodmark-jvm",
        "floodmark: the same for Spring Boot",
        "What a JVM's heap, collector, threads and database connections say, by Micrometer's names.",
        [*_first_screen(), _heap(), _collector(), _threads(), _database(), _requests()],
        targets=(JVM_USED,),
        apps=JVM_USED,
    )


def _first_screen() -> list[Panel]:
    return [
        stat(
            361,
            "Heap used of max",
            """Of the fullest JVM, garbage included: it rises and falls with collections. Bad: red, where the
            alert JvmHeapHigh begins, and no collection brings it down. No data: no Micrometer here, or
            floodmark's rules aren't loaded.""",
            Query(f"max({_HEAP})", "heap"),
            unit="percentunit",
            decimals=1,
            width=4,
            scale=palette.rises("jvm_heap_ratio"),
        ),
        stat(
            362,
            "Old gen after GC",
            """Share of the old generation that its last collection couldn't free, the worst JVM. Bad: rising;
            red, where the alert JvmOldGenAfterGcHigh begins: an OutOfMemoryError is next, a restart the only
            cure. 0 %: not collected yet.""",
            Query(f"max({_LEFT})", "left"),
            unit="percentunit",
            decimals=1,
            width=4,
            scale=palette.rises("jvm_old_gen_after_gc_ratio"),
        ),
        stat(
            363,
            "Time in GC",
            """Share of its time that the worst JVM spends collecting. Bad: red, where the alert
            JvmGcOverhead begins; towards 100 % nothing else is done.""",
            Query(f"max({_PAUSED})", "paused"),
            unit="percentunit",
            decimals=1,
            width=4,
            scale=palette.rises("jvm_gc_overhead_ratio"),
        ),
        stat(
            364,
            "Longest pause",
            """The longest time of the last minutes in which collection stopped all of a JVM. Bad: red,
            where the alert JvmLongGcPause begins: users notice.""",
            Query(f"max({select(JVM_PAUSE_MAX)})", "pause"),
            unit="s",
            width=4,
            scale=palette.rises("jvm_gc_pause_seconds"),
        ),
        stat(
            365,
            "CPU",
            """Of the busiest host: all that runs there, and the JVM alone. Bad: red, where the alert
            CpuSaturated begins. The host far above the JVM: something else takes it.""",
            Query(f"max({select(JVM_HOST_CPU)})", "host"),
            Query(f"max({select(JVM_CPU)})", "JVM"),
            unit="percentunit",
            decimals=0,
            width=8,
            scale=palette.CPU,
        ),
        stat(
            366,
            "Requests",
            """Requests served a second, and at this time yesterday; those to /actuator aren't counted. Bad:
            many times yesterday's, or none where yesterday had some.""",
            Query(_NOW, "now"),
            Query(f"sum({rate(HTTP, '_count', offset='1d', uri=_USERS)})", "yesterday"),
            unit="reqps",
            width=6,
        ),
        stat(
            367,
            "Errors (5xx)",
            """Share of requests answered with a 5xx status. Bad: yellow, more than the error budget has; red,
            as many as the alert ErrorRate has for gunicorn. No data: nothing was served, which can be worse
            than errors.""",
            Query(_ERROR_SHARE, "5xx"),
            unit="percentunit",
            decimals=1,
            width=4,
            scale=palette.ERRORS,
        ),
        stat(
            368,
            "Latency",
            """Mean time of a request, and the slowest of the last minutes. Bad: the mean rising: everybody
            waits. The slowest alone: one heavy request, or a pause of the collector.""",
            Query(_MEAN, "mean"),
            Query(_SLOWEST, "slowest"),
            unit="s",
            width=6,
        ),
        stat(
            369,
            "Database connections",
            """Lent out of all that the fullest pool may have, and threads that wait for one. Bad: any that
            wait. All lent out: slow queries, or code that keeps them. Waiting and not all lent out: the
            database takes no more. No data: the app uses no HikariCP.""",
            Query(f"max({_LENT})", "lent out"),
            Query(f"sum({select(HIKARI_PENDING)})", "waiting", unit="none", scale=palette.NONE_IS_GOOD),
            unit="percentunit",
            decimals=0,
            width=8,
        ),
        timeseries(
            370,
            "GC runs: does what it leaves grow?",
            """Old generation: its use rises until a collection brings it down, a sawtooth. Left after GC: the
            feet of the teeth; a point where one ran. Bad: the feet climb from point to point, towards the
            dashed lines (the size, and from where on JvmOldGenAfterGcHigh fires): a leak, or more work than
            the heap has room for. No dashed lines: it has no fixed size. No teeth and no feet: it was not
            collected yet.""",
            Query(f"sum by ({BY_JVM}) ({select(JVM_USED, area='heap', id=_OLD)})", f"old generation {JVM}"),
            Query(f"max by ({BY_JVM}) ({select(JVM_LIVE)}) > 0", f"left after GC {JVM}"),
            Query(
                # No counter tells the first one: it begins with it.
                f"max by ({BY_JVM}) ({select(JVM_LIVE)} != {select(JVM_LIVE)} offset $__interval) > 0",
                f"GC ran {JVM}",
                mark=palette.LEFT_AFTER_GC,
            ),
            Query(_SIZE, f"size {JVM}", line=palette.LIMIT),
            Query(
                f"scalar({threshold_series('jvm_old_gen_after_gc_ratio')}) * {_SIZE}",
                f"alert threshold {JVM}",
                line=palette.THRESHOLD,
            ),
            unit="bytes",
            colours={"old": "blue", "left": palette.LEFT_AFTER_GC},
        ),
        timeseries(
            371,
            "What is used up? The highest one",
            """How much of each is used, the worst JVM of what is selected. Heap: what collections leave of
            the old generation. Threads: Tomcat's that serve a request. Database: connections lent out. Bad:
            the one at 100 %. CPU and heap there but not the database: don't resize that. A gap in all: the
            app answered nobody.""",
            Query(f"max({select(JVM_HOST_CPU)})", "CPU of the host"),
            Query(f"max({_LEFT})", "heap after GC"),
            Query(f"max({_PAUSED})", "GC time"),
            Query(f"max({_BUSY})", "threads"),
            Query(f"max({_LENT})", "database connections"),
            unit="percentunit",
            most=1,
            colours=_TIERS,
        ),
        timeseries(
            372,
            "Heap used of max, by JVM",
            """All pools of the heap, garbage included, of what they may have together. Bad: never below
            dashed for 15 minutes although GC runs, the alert JvmHeapHigh: what is in use grew, not
            garbage.""",
            Query(f"max by ({BY_JVM}) ({_HEAP})", JVM),
            threshold("jvm_heap_ratio"),
            unit="percentunit",
            most=1,
        ),
    ]


def _heap() -> Row:
    return row(
        "Heap: what is in it?",
        timeseries(
            373,
            "Heap by pool",
            """New objects come to Eden, pass through Survivor, and grow old in Old or Tenured Gen; dashed is
            what all may have. Bad: the old one fills the stack, and Eden and Survivor have no room.""",
            Query(
                f"sum by ({BY_JVM}, id) ({select(JVM_USED, area='heap')})",
                f"{{{{id}}}} {JVM}",
            ),
            Query(
                f"sum by ({BY_JVM}) ({select(JVM_MAX, area='heap', id='!=ZGC Young Generation')} > 0)",
                f"max {JVM}",
                line=palette.LIMIT,
            ),
            unit="bytes",
            stack=True,
            colours=_POOLS,
        ),
        timeseries(
            374,
            "Old generation after GC, of its size",
            """What the last collection of the old generation couldn't free. Bad: above dashed for 10 minutes,
            the alert JvmOldGenAfterGcHigh. 0 %: not collected yet. No data: it has no fixed size.""",
            Query(f"max by ({BY_JVM}) ({_LEFT})", JVM),
            threshold("jvm_old_gen_after_gc_ratio"),
            unit="percentunit",
            most=1,
        ),
        timeseries(
            375,
            "Memory beside the heap",
            """Classes (Metaspace) and compiled code. Bad: Metaspace that never levels off: class loaders
            leak, and the host runs out of memory that -Xmx doesn't bound.""",
            Query(f"sum by ({BY_JVM}, id) ({select(JVM_USED, area='nonheap')})", f"{{{{id}}}} {JVM}"),
            unit="bytes",
            stack=True,
        ),
    )


def _collector() -> Row:
    by = f"sum by ({BY_JVM}, action)"
    return row(
        "Garbage collection: how often, and what does it cost?",
        timeseries(
            376,
            "Time in GC, by JVM",
            """Share of its time that a JVM spends collecting. Bad: above dashed for 5 minutes, the alert
            JvmGcOverhead: requests wait through the pauses, and the CPU that collects serves nobody.""",
            Query(f"max by ({BY_JVM}) ({_PAUSED})", JVM),
            threshold("jvm_gc_overhead_ratio"),
            unit="percentunit",
            width=12,
        ),
        timeseries(
            377,
            "Longest pause, by kind",
            """The longest recent pause of each kind of collection. Bad: above dashed again and again, the
            alert JvmLongGcPause. Major ones that grow: the old generation does.""",
            Query(f"max by ({BY_JVM}, action) ({select(JVM_PAUSE_MAX)})", f"{{{{action}}}} {JVM}"),
            threshold("jvm_gc_pause_seconds"),
            unit="s",
            width=12,
        ),
        timeseries(
            378,
            "Collections a second, by kind",
            """Minor ones clear the young generation, cheaply and often. Bad: major ones one after another:
            the old generation is full, and nothing comes free.""",
            Query(f"{by} ({rate(JVM_PAUSE_COUNT)})", f"{{{{action}}}} {JVM}"),
            unit="none",
            width=12,
        ),
        timeseries(
            379,
            "Share of time in pauses, by kind",
            """Where the time in GC goes. Bad: major ones above minor ones: the heap is too small for what
            lives in it.""",
            Query(f"{by} ({rate(JVM_PAUSE_SUM)})", f"{{{{action}}}} {JVM}"),
            unit="percentunit",
            width=12,
            stack=True,
        ),
    )


def _threads() -> Row:
    return row(
        "CPU and threads: who works, who waits?",
        timeseries(
            380,
            "CPU of the host, and of the JVM",
            """All of the host's CPUs are 100 %. Bad: host at 100 %: it is too small for this traffic, or
            collects (time in GC). Host far above JVM: look at what else runs there.""",
            Query(f"max by ({BY_JVM}) ({select(JVM_HOST_CPU)})", f"host {JVM}"),
            Query(f"max by ({BY_JVM}) ({select(JVM_CPU)})", f"JVM {JVM}"),
            unit="percentunit",
            width=12,
            most=1,
        ),
        timeseries(
            381,
            "Threads that serve a request",
            """Tomcat's busy threads; dashed is how many there may be. Bad: at dashed: the next request waits
            to be accepted. No data: the app lacks server.tomcat.mbeanregistry.enabled=true.""",
            Query(f"sum by ({BY_JVM}) ({select(TOMCAT_BUSY)})", f"busy {JVM}"),
            Query(f"sum by ({BY_JVM}) ({select(TOMCAT_MAX)} > 0)", f"max {JVM}", line=palette.LIMIT),
            unit="none",
            width=12,
        ),
        timeseries(
            382,
            "Threads, by state",
            """Runnable ones work or wait for the network; blocked ones wait for a lock. Bad: many blocked:
            one lock holds them all.""",
            Query(f"sum by (state) ({select(JVM_THREAD_STATES)})", "{{state}}"),
            unit="none",
            width=12,
            stack=True,
            colours=_STATES,
            name_zeros=False,
        ),
        timeseries(
            383,
            "Threads, by JVM",
            """Live threads. Bad: a line that only rises: threads are started and never end; each takes memory
            beside the heap.""",
            Query(f"sum by ({BY_JVM}) ({select(JVM_THREADS)})", JVM),
            unit="none",
            width=12,
        ),
    )


def _database() -> Row:
    by = f"sum by ({BY_JVM}, pool)"
    pool = f"{{{{pool}}}} {JVM}"
    return row(
        "Database connections: lent out, waited for, given up",
        timeseries(
            384,
            "Connections lent out",
            """Connections in use of each pool; dashed is how many it may have. Bad: at dashed for long: slow
            queries, or code that keeps them.""",
            Query(f"{by} ({select(HIKARI_ACTIVE)})", pool),
            Query(f"{by} ({select(HIKARI_MAX)})", f"max {pool}", line=palette.LIMIT),
            unit="none",
        ),
        timeseries(
            385,
            "Threads that wait for a connection",
            """Requests that need the database and find no connection free. Bad: above 0 for 2 minutes, the
            alert HikariPoolExhausted.""",
            Query(f"{by} ({select(HIKARI_PENDING)})", pool),
            unit="none",
        ),
        timeseries(
            386,
            "Threads that gave up",
            """Requests that found no connection within connectionTimeout (30 s unless set), and failed. Bad:
            any.""",
            Query(f"{by} ({count(HIKARI_TIMEOUTS)})", pool),
            unit="none",
            draw="bars",
            every="1m",
            name_zeros=False,
        ),
    )


def _requests() -> Row:
    buckets = rate(HTTP, "_bucket", uri=_USERS)
    return row(
        "Requests: what is answered, and at what cost?",
        timeseries(
            387,
            "Requests/s by status",
            "Answers a second by status code. Bad: red (5xx) growing; none at all while people still come.",
            Query(f"sum by (status) ({rate(HTTP, '_count', uri=_USERS)})", "{{status}}"),
            unit="reqps",
            stack=True,
            colours=palette.STATUSES,
        ),
        timeseries(
            388,
            "Latency, over time",
            """Mean time of a request, the slowest of the last minutes, and p95: 95 % are faster. Bad: the
            mean rising. No p95: the app doesn't ask for it by
            management.metrics.distribution.percentiles-histogram.http.server.requests=true.""",
            Query(_MEAN, "mean"),
            Query(f"histogram_quantile(0.95, sum by (le) ({buckets})) >= 0", "p95"),
            Query(_SLOWEST, "slowest"),
            unit="s",
            colours={"mean": "light-blue", "p95": palette.QUANTILES["p95"], "slowest": "red"},
        ),
        bargauge(
            389,
            "Routes that keep most in work",
            """Seconds of work a second, the ten most: how many of its requests each route keeps in work at
            once. Bad: one far above the others: start there, with its queries.""",
            Query(f"topk(10, sum by (uri) ({rate(HTTP, '_sum', uri=_USERS)}) > 0)", "{{uri}}"),
            unit="none",
        ),
    )
