"""floodmark-workers: why do workers die?

The first screen names the causes and shows what leads to each: memory to oom_kill, silence to timeout,
requests that pile up to both. The collapsed rows tell the deaths one by one, restarts, and what recycling
costs.
"""

from __future__ import annotations

from floodmark.catalogue import (
    BACKLOG,
    BACKLOG_LIMIT,
    BOOTS,
    EXITS,
    IN_FLIGHT,
    LAST_DEATH,
    MEMORY,
    MEMORY_HEADROOM,
    RELOADS,
    REQUEST_DURATION,
    REQUESTS_QUEUED,
    SETTING,
    SIGKILLS,
    SLOTS,
    UP,
    WORKER_CPU,
    WORKER_HEARTBEAT,
    WORKER_RESIDENT,
    WORKER_START,
    WORKERS,
    WORKERS_TARGET,
)
from floodmark.gunicorn.verdict import WANTED

from . import palette
from .panels import (
    APP,
    WORKER,
    Json,
    Panel,
    Query,
    Row,
    bargauge,
    dashboard,
    row,
    stat,
    table,
    threshold,
    timeseries,
)
from .query import BY_APP, UNWANTED, count, news, quantile, rate, recorded, select

_DEATHS_TODAY = f"sum by (cause) ({count(EXITS, cause=UNWANTED, window='24h')})"

# What the alert WorkerCrashLoop counts: a deploy may kill many at once, and AppBootFailing tells of boots.
_LOOPING = f"!~{'|'.join(sorted(WANTED | {'boot_error', 'shutdown_kill', 'unknown'}))}"

# As the alert MemoryOvercommitted has it: the middle of half an hour, so that one large upload is no budget.
_PROPORTIONAL = f"quantile_over_time(0.5, {select(MEMORY, kind='proportional')}[30m])"
_TO_GROW = f"quantile_over_time(0.5, {recorded('app:gunicorn_memory_bytes:ungrown_shared')}[30m])"
_THERE_IS = f"quantile_over_time(0.5, {select(MEMORY_HEADROOM)}[30m]) + on ({BY_APP}) {_PROPORTIONAL}"

_OLD = 6 * 3600

# One point for each replacement, at the first step that sees the new worker. A slot may stand empty before,
# and the boot time that start times are counted from may move by a second.
_REPLACED = f"{select(WORKER_START)} > 1 + last_over_time({select(WORKER_START)}[5m] offset $__interval)"

# A row for each death: the one that gunicorn_last_death_info tells, or else one with its cause alone;
# and one for each other of that cause at the same moment, up to a small app's workers.
_DIED = f"sum by ({BY_APP}, cause) ({news(EXITS, cause=UNWANTED)})"
_TOLD = f"max by ({BY_APP}, cause, confidence, doing) ({select(LAST_DEATH)})"
_DEATHS = " or ".join(
    [
        f"{_TOLD} * on ({BY_APP}, cause) group_left () {_DIED}",
        f"({_DIED} unless on ({BY_APP}, cause) {_TOLD})",
        *(f'label_replace({_DIED} >= {n}, "doing", "not known ({n})", "", "")' for n in (2, 3, 4)),
    ]
)
_LARGEST = (
    f"(max by ({BY_APP}) (max_over_time({select(WORKER_RESIDENT)}[$__rate_interval]))"
    f" or NaN * max by ({BY_APP}) ({select(UP)}))"
)


def build() -> Json:
    """The dashboard as classic JSON."""
    return dashboard(
        "floodmark-workers",
        "floodmark: why do workers die?",
        "The true causes of deaths, and what leads to each: memory, silence, requests that pile up.",
        [*_first_screen(), _one_by_one(), _restarts(), _recycling(), _at_work()],
    )


def _first_screen() -> list[Panel]:
    return [
        deaths_today(101, width=8),
        stat(
            102,
            "Last death of each app, within 15 min",
            """Cause, how sure it is, the app, and the innermost call of its own code at that moment; the
            number is how many died of it within 15 minutes. Bad: any; look first at the code it names.
            floodmark why has the evidence. Nothing named: no agent to see it, or the worker was idle.""",
            Query(
                f"clamp_min(max by ({BY_APP}, cause, confidence, doing) ({select(LAST_DEATH)})"
                f" * on ({BY_APP}, cause) group_left ()"
                f" sum by ({BY_APP}, cause) ({count(EXITS, window='15m')}), 1)"
                f' or label_replace(0 * max({select(UP)}) unless on () {select(LAST_DEATH)}, "cause", "none",'
                ' "", "")',
                "{{cause}} {{confidence}} {{app}} {{doing}}",
            ),
            unit="none",
            width=11,
            scale=palette.NONE_IS_GOOD,
        ),
        workers_now(103, width=5),
        timeseries(
            104,
            "Deaths by cause",
            """Each bar: workers that died then, by the true cause. Bad: any; a fence of bars is a crash loop.
            Then look at the same moment beside and below: memory for oom_kill, heartbeat for timeout.""",
            Query(f"sum by ({BY_APP}, cause) ({count(EXITS, cause=UNWANTED)})", f"{{{{cause}}}} {APP}"),
            unit="none",
            width=12,
            height=5,
            draw="bars",
            every="1m",
            colours=palette.CAUSES,
            name_zeros=False,
        ),
        timeseries(
            105,
            "Memory of each worker",
            """Resident memory by worker slot; at a point the slot got a new worker, at a red line one died.
            Bad: a memory that only rises until it falls at a red line (a leak that the kernel ends), or leaps
            before it (a large upload or query). A sawtooth with points alone is max_requests at work.""",
            Query(f"max by ({BY_APP}, worker) ({select(WORKER_RESIDENT)})", WORKER),
            Query(
                f"max by ({BY_APP}, worker) ({select(WORKER_RESIDENT)})"
                f" and on ({BY_APP}, worker) {_REPLACED}",
                f"replaced {WORKER}",
                mark=palette.MARK,
            ),
            unit="bytes",
            width=12,
            height=5,
        ),
        timeseries(
            106,
            "Heartbeat age against timeout",
            """Time since the most silent worker of each app told its master that it lives. At the dashed
            line, its timeout, gunicorn kills it. Bad: a ramp towards the line: that worker hangs, mostly in
            a call to a database or another service.""",
            Query(f"max by ({BY_APP}) ({select(WORKER_HEARTBEAT)})", APP),
            Query(
                f"max by ({BY_APP}) ({select(SETTING, setting='timeout')} > 0)",
                f"timeout {APP}",
                line=palette.LIMIT,
            ),
            unit="s",
            height=5,
        ),
        timeseries(
            107,
            "Memory budget: do all workers fit?",
            """Share of all memory there is for each app that it would take if all configured workers were as
            large as the largest now. Bad: above the dashed line, where the alert MemoryOvercommitted fires:
            fewer workers, or max_requests. From 100 % on the kernel kills. No data: proportional memory can't
            be read; floodmark check says why.""",
            Query(
                f"({_TO_GROW} + on ({BY_APP}) {_PROPORTIONAL}) / on ({BY_APP}) ({_THERE_IS})",
                APP,
            ),
            threshold("memory_budget_ratio"),
            unit="percentunit",
            height=5,
        ),
        in_flight(108),
    ]


def _one_by_one() -> Row:
    return row(
        "The deaths: who, of what, and how sure is it?",
        table(
            109,
            "Deaths, one by one",
            """Each unwanted end of a worker, newest first: its cause, how sure it is, what was in flight (the
            innermost call of the app's own code, where the agent saw it), and the app's largest worker just
            before. Bad: any row; floodmark why has the evidence. Several of a cause at one moment: the last
            tells all, up to three more their cause.""",
            # One host under two jobs is one host: without the job each death is there once.
            "max by (app, cause, confidence, doing) (label_join("
            f'0 * ({_DEATHS}) + on ({BY_APP}) group_left () {_LARGEST}, "app", "@", "app", "instance"))',
            unit="bytes",
            width=24,
            headings={"doing": "in flight", "Value": "largest worker"},
            history=True,
        ),
        bargauge(
            110,
            "All exits in 24 h, by cause",
            """Every end of a worker, asked for (blue) or not. max_requests is the recycling: it costs boots,
            not users. Bad: any other colour; oom_kill and timeout need different cures.""",
            Query(f"sort_desc(sum by (cause) ({count(EXITS, window='24h')}))", "{{cause}}"),
            unit="none",
            colours=palette.CAUSES,
        ),
        timeseries(
            111,
            "Deaths within 10 minutes",
            """Unwanted ends in the ten minutes before; those while the app stops or boots are left out. Bad:
            above the dashed line, where the alert WorkerCrashLoop fires: new workers die as well.""",
            Query(f"sum by ({BY_APP}) ({count(EXITS, window='10m', cause=_LOOPING)})", APP),
            threshold("crash_loop_exits"),
            unit="none",
        ),
        timeseries(
            112,
            "Kill signals",
            """Workers ended by signal 9, whoever sent it: the kernel for memory, gunicorn at the timeout, or
            a person. Gunicorn's log calls each "Perhaps out of memory?". Bad: any; the cause is beside.""",
            Query(f"sum by ({BY_APP}) ({count(SIGKILLS)})", APP),
            unit="none",
            draw="bars",
            every="1m",
        ),
    )


def _restarts() -> Row:
    return row(
        "Restarts: do new workers live?",
        timeseries(
            113,
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
            114,
            "Boots and reloads",
            """Workers started, and reloads asked for. Bad: boots without reloads or recycles: workers come
            and go.""",
            Query(f"sum({count(BOOTS)})", "boots"),
            Query(f"sum({count(RELOADS)})", "reloads"),
            unit="none",
            draw="bars",
            every="1m",
            colours={"boots": "green", "reloads": "light-blue"},
        ),
        timeseries(
            115,
            "Age of each worker",
            """Time each worker slot has lived; a fall to 0 is a restart, and 6 hours stand for all above, or
            they would hide the young. Bad: all falling at once (recycles without jitter), or a slot that
            never grows old (a crash loop).""",
            Query(f"clamp_max(time() - max by ({BY_APP}, worker) ({select(WORKER_START)}), {_OLD})", WORKER),
            unit="s",
        ),
    )


def _recycling() -> Row:
    return row(
        "Recycling by max_requests: how often, and at what cost?",
        timeseries(
            116,
            "Recycles in the last hour",
            """Workers that ended as they had served max_requests, in the hour before. Bad: more than one for
            each worker in a few minutes: max_requests is too low, and workers boot instead of serving. 0 for
            days while memory grows: it isn't set.""",
            Query(f"sum by ({BY_APP}) ({count(EXITS, window='1h', cause='max_requests')})", APP),
            unit="none",
        ),
        timeseries(
            117,
            "Recycles beside latency p95",
            """Recycles at each moment (left), and the time 95 % of requests were served within (right). Bad:
            latency that peaks with the recycles: too few workers are left while others boot.""",
            Query(f"sum({count(EXITS, cause='max_requests')})", "recycles"),
            Query(quantile(REQUEST_DURATION, 0.95), "p95", unit="s"),
            unit="none",
            every="1m",
            colours={"recycles": palette.CAUSES["max_requests"], "p95": palette.QUANTILES["p95"]},
        ),
        timeseries(
            118,
            "Workers younger than 2 minutes",
            """Share of each app's workers that have just started. Bad: above the dashed line again and again
            without a deploy: they are recycled together, and the alert RecycleStorm fires. Set
            max_requests_jitter.""",
            Query(
                f"sum by ({BY_APP}) ({select(WORKER_START)} > bool (time() - 120))"
                f" / count by ({BY_APP}) ({select(WORKER_START)})",
                APP,
            ),
            threshold("recycle_storm_share"),
            unit="percentunit",
            most=1,
        ),
        settings(119, width=24),
    )


def _at_work() -> Row:
    return row(
        "At work: do they compute, or wait?",
        worker_cpu(120, width=12),
        backlog(121, width=12),
    )


def deaths_today(number: int, width: int) -> Panel:
    """How many died of what since yesterday; none is said, not left out."""
    return stat(
        number,
        "Deaths in 24 h, by cause",
        """Workers that ended without being asked to, by the true cause; recycles, reloads and shutdowns
        are not counted. Bad: any. oom_kill: memory ran out. timeout: a worker hung or waited too long,
        which more memory doesn't cure. No data: floodmark sees no gunicorn.""",
        Query(
            f'{_DEATHS_TODAY} > 0 or label_replace(sum({_DEATHS_TODAY}) == 0, "cause", "none", "", "")',
            "{{cause}}",
        ),
        unit="none",
        width=width,
        scale=palette.NONE_IS_GOOD,
    )


def workers_now(number: int, width: int) -> Panel:
    """How many live, and how many should."""
    return stat(
        number,
        "Workers",
        """Live workers, and how many are missing to the number configured, over all apps. Bad: any
        missing for more than the moments a restart takes.""",
        Query(f"sum({select(WORKERS)})", "live"),
        Query(
            f"sum(clamp_min(sum by ({BY_APP}) ({select(WORKERS_TARGET)})"
            f" - sum by ({BY_APP}) ({select(WORKERS)}), 0))",
            "missing",
            scale=palette.NONE_IS_GOOD,
        ),
        unit="none",
        width=width,
    )


def in_flight(number: int) -> Panel:
    """What workers serve, of what they can, and what waits for them."""
    return timeseries(
        number,
        "Requests in flight, and those that wait",
        """In flight: requests that workers serve; dashed are the slots they have for it. Waiting: listen,
        nobody has accepted them; worker, accepted by a gthread worker without a free thread. Bad: waiting
        above 0 for long, or before a death: workers were held up, not idle. No data: floodmark may not
        look.""",
        Query(f"sum({select(IN_FLIGHT)})", "in flight"),
        Query(f"sum by (where) ({select(REQUESTS_QUEUED)})", "waiting: {{where}}"),
        Query(f"sum({select(SLOTS)})", "slots", line=palette.LIMIT),
        unit="none",
        height=5,
        colours={"in flight": "blue", "waiting: listen": "orange", "waiting: worker": "yellow"},
    )


def settings(number: int, width: int) -> Panel:
    """Each app's settings that are numbers."""
    return table(
        number,
        "Settings",
        """Numeric settings of each app as far as they can be known from outside. Bad: max_requests 0 with
        growing memory; max_requests_jitter 0 makes workers restart together.""",
        f"max by (app, instance, setting) ({select(SETTING)})",
        width=width,
        headings={"Value": "value"},
    )


def worker_cpu(number: int, width: int) -> Panel:
    """Whether workers compute or wait."""
    return timeseries(
        number,
        "CPU of each worker",
        """CPU each worker slot uses; 100 % is one whole CPU. Bad: all near 100 %: the host is too small
        or the code too dear. All near 0 while requests wait and timeouts kill: they wait for a database
        or a disk.""",
        Query(f"sum by ({BY_APP}, worker) ({rate(WORKER_CPU)})", WORKER),
        unit="percentunit",
        width=width,
    )


def backlog(number: int, width: int) -> Panel:
    """The kernel's queue before the workers, and its end."""
    return timeseries(
        number,
        "Listen backlog",
        """Connections that wait to be accepted, by address; dashed is how many may. Bad: above 0 for
        long: all workers are busy. At dashed users are turned away.""",
        Query(f"sum by ({BY_APP}, listener) ({select(BACKLOG)})", f"{{{{listener}}}} {APP}"),
        Query(
            f"min by ({BY_APP}, listener) ({select(BACKLOG_LIMIT)})",
            f"limit {{{{listener}}}} {APP}",
            line=palette.LIMIT,
        ),
        unit="none",
        width=width,
    )
