"""A festival evening of one host, in which the five incidents of the field meet: what the pictures show.

The host is the healthy one of tests/day until, on its workday:

- 19:40 a release is deployed by a reload. It leaks at each request, lists without an index, and somebody has
  taken max_requests out with it
- 19:50 the database's disk queue begins to climb: each list reads the whole table
- 19:55 the crowd comes; by 20:05 it is ten times the usual one. What is served grows up to the capacity, then
  falls with it, as each request waits for the database. The listen queue fills and overflows
- memory fills, then swap, and the kernel kills the largest worker; from 20:13 on workers are silent for
  longer than their timeout, and gunicorn kills them
- beside it the chat, a Spring Boot: collections run ever more often, and what they leave keeps growing
- 20:48 the crowd begins to go, 20:54 the index is added; the end, 20:58, is the beginning of recovery
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

from tests.day.faults import Fault, dies
from tests.day.healthy import (
    APP,
    GIB,
    HEAP,
    MIB,
    PAUSES,
    QUICK,
    SPRING,
    TOTAL,
    TRAFFIC,
    WAITS,
    WORKERS,
    healthy,
    refused,
)
from tests.day.series import HOURS, RESET, STEP, Host, between, index, noise

BEGIN, END = 19.25, 20 + 58 / 60  # what is shown
DEPLOY = 19 + 40 / 60

BACKLOG = 256  # requests
LEAK = 73 * 1024  # bytes a request
FITS = 2.45 * GIB  # what may leak before memory and swap are full
LEAKS = (0.29, 0.25, 0.24, 0.22)  # each worker's part: the kernel hands out connections unevenly
TIMEOUTS = {20.22: 1, 20.33: 3, 20.43: 1, 20.52: 3, 20.6: 1, 20.72: 3}  # the hour: the worker
BLOCK = 480  # bytes

Line = list[float]

USUAL = [rate * by for rate, by in zip(between(TRAFFIC), noise("traffic", 0.15), strict=True)]
CROWD = between(((-8, 1), (19.92, 1), (20.08, 10), (20.8, 10), (20.97, 5), (24, 1)))
ARRIVALS = [rate * by for rate, by in zip(USUAL, CROWD, strict=True)]
# How hard the database's disk is asked, 0 to 1.
ASKED = [
    part * by
    for part, by in zip(
        between(((-8, 0), (19.83, 0), (20.1, 0.35), (20.4, 1), (20.9, 1), (21, 0.3), (24, 0))),
        noise("festival disk", 0.12),
        strict=True,
    )
]
# A request in a worker, in seconds, on average.
CALM, WAITING = 0.09, 0.27
TAKES = between(
    (
        *((-8, CALM), (19.83, CALM), (20.08, 0.1), (20.2, 0.19), (20.5, WAITING), (20.9, WAITING)),
        *((20.97, 0.2), (24, CALM)),
    )
)
# How much of the way from a calm evening's durations to those of requests that wait for the database.
SLOW = [(seconds - CALM) / (WAITING - CALM) for seconds in TAKES]
BELOW = {
    0.005: 0.0,
    0.01: 0.02,
    0.025: 0.08,
    0.05: 0.18,
    0.1: 0.35,
    0.25: 0.62,
    0.5: 0.83,
    1.0: 0.91,
    2.5: 0.945,
    5.0: 0.965,
    10.0: 0.98,
    30.0: 0.996,
    60.0: 1.0,
}

# The chat: messages a second, how full its old generation gets, the part of time in GC, its part of all CPU.
MESSAGES = [3 * rate / 8 * crowd for rate, crowd in zip(between(TRAFFIC), CROWD, strict=True)]
FILLS = between(((-8, 0.37), (19.75, 0.37), (20.1, 0.42), (20.6, 0.72), (20.97, 0.82), (24, 0.82)))
PAUSED = [0.004 + 0.38 * max(0.0, part - 0.35) ** 1.2 for part in FILLS]
JVM = [0.04 + 0.006 * said + 0.9 * part for said, part in zip(MESSAGES, PAUSED, strict=True)]


class Death(NamedTuple):
    """A worker's end."""

    sample: int
    worker: int
    cause: str


class Evening(NamedTuple):
    """What follows from the crowd and from how long a request takes, for each sample of the day."""

    served: Line  # requests a second
    waiting: Line  # requests
    dropped: Line  # connections a second
    leaked: list[Line]  # bytes, by worker
    deaths: list[Death]
    pressed: Line  # 0 to 1: how hard the host fights for memory


def _play() -> Evening:
    served, waiting, dropped, deaths = [], [], [], []
    leaked: list[Line] = [[] for _ in range(WORKERS)]
    timeouts = {index(hour): worker for hour, worker in TIMEOUTS.items()}
    queue, held, spared = 0.0, [0.0] * WORKERS, 0
    for i, coming in enumerate(ARRIVALS):
        done = min(0.97 * WORKERS / TAKES[i], coming + queue / STEP)
        left = queue + (coming - done) * STEP
        queue = min(left, BACKLOG)
        served.append(done)
        waiting.append(float(round(max(0, queue - i * 37 % 9)) if queue > 1 else i % 97 == 0))
        dropped.append((left - queue) / STEP)
        if HOURS[i] >= DEPLOY:
            held = [size + done * STEP * LEAK * part for size, part in zip(held, LEAKS, strict=True)]
        killed = timeouts.get(i)
        if killed is not None:
            deaths.append(Death(i, killed, "timeout"))
        elif sum(held) > FITS and i > spared:
            killed, spared = held.index(max(held)), i + 10
            deaths.append(Death(i, killed, "oom_kill"))
        for worker in range(WORKERS):
            held[worker] *= worker != killed
            leaked[worker].append(held[worker])
    pressed = [min(1.0, max(0.0, sum(each) / FITS / 0.45 - 1.22)) for each in zip(*leaked, strict=True)]
    return Evening(served, waiting, dropped, leaked, deaths, pressed)


TOLD = _play()


def festival(host: Host) -> None:
    """Change the healthy host's day into that one."""
    _requests(host)
    _workers(host)
    _memory(host)
    _failures(host)
    _machine(host)
    _database(host)
    _chat(host)
    _postgres(host)


STORY = Fault("web-1", festival, hours=(-8, END))


@cache
def story() -> Host:
    """Return the host of the story."""
    host = healthy().copy()
    festival(host)
    return host


def _becomes(host: Host, name: str, values: Line, begin: float = DEPLOY, /, **labels: str) -> None:
    host.change(name, lambda hour, _: values[index(hour)], begin, 24, **labels)


def _adds(
    host: Host, name: str, values: Line, times: float = 1, begin: float = DEPLOY, **labels: str
) -> None:
    host.change(name, lambda hour, was: was + times * values[index(hour)], begin, 24, **labels)


def _scaled(values: Line, times: float, least: float = 0) -> Line:
    return [least + times * value for value in values]


def _product(*lines: Line) -> Line:
    return [math.prod(each) for each in zip(*lines, strict=True)]


def _workers(host: Host) -> None:
    host.change("gunicorn_worker_exits_total", 0, DEPLOY, cause="max_requests")
    host.change("gunicorn_worker_boots_total", 0, DEPLOY)
    for setting in ("max_requests", "max_requests_jitter"):
        host.change("gunicorn_config", 0, DEPLOY, setting=setting)
    host.change("gunicorn_config", BACKLOG, setting="backlog")
    host.change("gunicorn_listen_backlog_limit", BACKLOG)
    dies(host, DEPLOY, "reload", WORKERS)
    host.happens("gunicorn_reloads_total", DEPLOY)
    for sample, _, cause in TOLD.deaths:
        dies(host, HOURS[sample], cause, sigkill=True)
        host.happens("node_vmstat_oom_kill", HOURS[sample], cause == "oom_kill")
        refused(host, HOURS[sample], 1, "worker_killed")

    missing = {death.sample for death in TOLD.deaths}
    live = [float(WORKERS - (i in missing)) for i in range(len(HOURS))]
    work = _product(TOLD.served, TAKES)
    busy = [
        min(most, round(part + (i % 3 - 1) * 0.3))
        for i, (most, part) in enumerate(zip(live, work, strict=True))
    ]
    idle = [most - part for most, part in zip(live, busy, strict=True)]
    for name, labels, values in (
        ("gunicorn_workers", {"state": "busy"}, busy),
        ("gunicorn_workers", {"state": "idle"}, idle),
        ("gunicorn_requests_in_flight", {}, busy),
        ("gunicorn_requests_queued", {}, TOLD.waiting),
        ("gunicorn_listen_backlog", {}, TOLD.waiting),
        ("node_netstat_TcpExt_ListenOverflows", {}, TOLD.dropped),
        ("node_netstat_TcpExt_ListenDrops", {}, TOLD.dropped),
    ):
        _becomes(host, name, values, 19.85, **labels)
    # Who waits for the database is silent meanwhile; who will be killed, to the end.
    for worker in range(WORKERS):
        silent = [0.5 + 8 * part * ((i * 7 + worker * 5) % 11 / 11) for i, part in enumerate(ASKED)]
        for death in TOLD.deaths:
            if death.worker == worker and death.cause == "timeout":
                silent[death.sample - 1] = 29.0
        _becomes(host, "gunicorn_worker_heartbeat_age_seconds", silent, worker=str(worker))
    _last_deaths(host)


def _last_deaths(host: Host) -> None:
    """Say of each for 15 minutes, or until the next, what is known of it."""
    doing = {"timeout": "items (shop/views.py:88)", "oom_kill": "a GET request"}
    shown: dict[str, list[float | None]] = {cause: [None] * len(HOURS) for cause in doing}
    ends = [death.sample for death in TOLD.deaths[1:]] + [len(HOURS)]
    for death, end in zip(TOLD.deaths, ends, strict=True):
        until = min(index(HOURS[death.sample] + 0.25), end)
        shown[death.cause][death.sample : until] = [1.0] * (until - death.sample)
    for cause, values in shown.items():
        known = {"cause": cause, "confidence": "confirmed", "doing": doing[cause]}
        host.gauge("gunicorn_last_death_info", values, **known, **APP)


def _memory(host: Host) -> None:
    """Have workers hold what leaks, and collect the rest, ever more of which lies in swap."""
    sizes, swapped = [], []
    full = [0.0] * len(HOURS)
    for worker, leaked in enumerate(TOLD.leaked):
        labels = {"worker": str(worker)}
        deaths = {death.sample for death in TOLD.deaths if death.worker == worker}
        size, live, started, collected = [], [], [], []
        born, left = index(DEPLOY), 0.0
        for i, held in enumerate(leaked):
            if i in deaths:
                born, left = i, 0.0
            # Each fourth minute all generations are collected: what was no longer used is a tooth.
            tooth = (i - born + 3 * worker) % 8
            left = left if tooth else held
            collected.append((tooth == 0) / STEP)
            size.append(round((64 * MIB + held + tooth * 1.2 * MIB) / 4096) * 4096.0)
            live.append(64 * MIB + left)
            started.append(born * STEP - 2 - worker / 4)
        out = [0.28 * part * held for part, held in zip(TOLD.pressed, leaked, strict=True)]
        for name, values in {
            "gunicorn_worker_resident_memory_bytes": _less(_scaled(size, 1.25), out),
            "gunicorn_worker_proportional_memory_bytes": _less(_scaled(size, 1.1), out),
            "gunicorn_worker_swap_bytes": _scaled(out, 1, 0.5 * MIB),
            "gunicorn_worker_start_time_seconds": started,
            "python_heap_used_bytes": size,
            "python_heap_live_bytes": live,
            "python_heap_allocated_blocks": _scaled(size, 1 / BLOCK, 80_000),
            "python_heap_live_blocks": _scaled(live, 1 / BLOCK, 77_000),
        }.items():
            _becomes(host, name, values, **labels)
        cpu = _scaled(TOLD.served, 0.03 / WORKERS)
        for i in {*deaths, index(DEPLOY)}:
            cpu[i] = RESET
        _becomes(host, "gunicorn_worker_cpu_seconds_total", cpu, **labels)
        _becomes(host, "python_gc_collections_total", collected, generation="2", **labels)
        full = [one + other for one, other in zip(full, collected, strict=True)]
        sizes.append(size)
        swapped.append(out)
    _full_collections(host, full)
    _memory_of_all(host, sizes, swapped)


def _full_collections(host: Host, full: Line) -> None:
    seconds = 0.17
    _becomes(host, "python_gc_pause_seconds_count", full, generation="2")
    _becomes(host, "python_gc_pause_seconds_sum", _scaled(full, seconds), generation="2")
    for bound in (*PAUSES, math.inf):
        values = _scaled(full, bound > seconds)
        _becomes(host, "python_gc_pause_seconds_bucket", values, generation="2", le=_edge(bound))


def _memory_of_all(host: Host, sizes: list[Line], swapped: list[Line]) -> None:
    whole = [30 * MIB + sum(each) for each in zip(*sizes, strict=True)]
    out = [2 * MIB + sum(each) for each in zip(*swapped, strict=True)]
    for kind, values in {
        "anonymous": _less(whole, out),
        "resident": _less(_scaled(whole, 1.25), out),
        "proportional": _less(_scaled(whole, 1.1), out),
        "swap": out,
    }.items():
        _becomes(host, "gunicorn_memory_bytes", values, kind=kind)
    unused = [
        max((0.05 + i % 5 / 200) * TOTAL, 2.35 * GIB - size) for i, size in enumerate(_less(whole, out))
    ]
    for name, part in (
        ("node_memory_MemAvailable_bytes", 1.0),
        ("node_memory_MemFree_bytes", 0.4),
        ("node_memory_Cached_bytes", 0.6),
        ("gunicorn_memory_headroom_bytes", 1.0),
    ):
        _becomes(host, name, _scaled(unused, part))
    free = [max(0.02 * GIB, 0.85 * GIB - 1.9 * size) for size in out]
    _becomes(host, "node_memory_SwapFree_bytes", free)
    for route, part in (("/", 0.02), ("/items/<int:pk>/", 0.95), ("other", 0.03)):
        kept = [part * sum(each) / BLOCK for each in zip(*TOLD.leaked, strict=True)]
        host.gauge("gunicorn_route_allocated_blocks", kept, route=route, **APP)


def _less(some: Line, other: Line) -> Line:
    return [one - two for one, two in zip(some, other, strict=True)]


def _requests(host: Host) -> None:
    """Have requests be as many, and as slow."""
    times = [done / rate for done, rate in zip(TOLD.served, USUAL, strict=True)]
    for name in sorted({key.name for key in host.counters}):
        if name.startswith(("gunicorn_requests_", "gunicorn_route_requests", "proxy_requests", "python_gc_")):
            host.change(name, lambda hour, rate: rate * times[index(hour)], DEPLOY)
    for name in ("gunicorn_request_duration_seconds", "proxy_request_duration_seconds"):
        for bound, quick in {**QUICK, math.inf: 1.0}.items():
            share = _scaled(SLOW, BELOW.get(bound, 1.0) - quick, quick)
            _becomes(host, f"{name}_bucket", _product(TOLD.served, share), le=_edge(bound))
        _becomes(host, f"{name}_count", TOLD.served)
        _becomes(host, f"{name}_sum", _product(TOLD.served, TAKES))
    _becomes(host, "gunicorn_request_busy_seconds_total", _product(TOLD.served, TAKES))
    waits = [waiting / done for waiting, done in zip(TOLD.waiting, TOLD.served, strict=True)]
    for bound, quick in {**WAITS, math.inf: 1.0}.items():
        # Who came when others waited, waited about as long as those took.
        share = [quick if wait < CALM else min(1.0, max(0.0, bound / wait / 0.6 - 1)) for wait in waits]
        values = _product(TOLD.served, share)
        _becomes(host, "gunicorn_request_queue_seconds_bucket", values, le=_edge(bound))
    _becomes(host, "gunicorn_request_queue_seconds_count", TOLD.served)
    _becomes(host, "gunicorn_request_queue_seconds_sum", _product(TOLD.served, _scaled(waits, 0.9, 0.003)))
    for route, part, slower in (("/", 0.3, 0.25), ("/items/<int:pk>/", 0.6, 1.5), ("other", 0.1, 0.25)):
        seconds = _scaled(SLOW, (WAITING - CALM) * slower, CALM)
        values = _scaled(_product(TOLD.served, seconds), part)
        _becomes(host, "gunicorn_route_duration_seconds_total", values, route=route)


def _edge(bound: float) -> str:
    return "+Inf" if bound == math.inf else repr(bound)


def _failures(host: Host) -> None:
    """Have some fail, as the database refuses connections; and have the proxy give up on some."""
    failing = _product(SLOW, TOLD.served)
    for name in ("gunicorn_requests_total", "proxy_requests_total"):
        _adds(host, name, failing, 0.09, status="500")
    host.counter(
        "gunicorn_route_requests_total", _scaled(failing, 0.09), route="/items/<int:pk>/", status="5xx", **APP
    )
    for status, signature, part in (
        ("502", "worker_killed", 0.005),
        ("502", "refused", 0.015),
        ("504", "slow_upstream", 0.03),
    ):
        _adds(host, "proxy_requests_total", failing, part, status=status)
        _adds(host, "proxy_gateway_errors_total", failing, part, signature=signature)
    failed = {"server": "shop.example.org", "status_class": "5xx"}
    below = dict.fromkeys(QUICK, 0.0) | {30.0: 0.4, 60.0: 1.0}  # about gunicorn's timeout
    host.histogram("proxy_request_duration_seconds", _scaled(failing, 0.05), below, 31.8, **failed)


def _cpu() -> tuple[Line, Line, Line]:
    """Return what apps, the system and the hypervisor take of all CPUs."""
    user = [min(0.85, 0.03 + 0.012 * done + part) for done, part in zip(TOLD.served, JVM, strict=True)]
    system = [part / 8 + 0.08 * swap for part, swap in zip(user, TOLD.pressed, strict=True)]
    return user, system, _scaled(TOLD.pressed, 0.05, 0.01)


def _machine(host: Host) -> None:
    fight = _product(TOLD.pressed, noise("festival swap", 0.35))
    user, system, steal = _cpu()
    left = [max(0.0, 1 - sum(parts)) for parts in zip(user, system, steal, strict=True)]
    iowait = _product(left, _scaled(TOLD.pressed, 0.75, 0.01))
    modes = {"user": user, "system": system, "steal": steal, "iowait": iowait, "idle": _less(left, iowait)}
    for mode, values in modes.items():
        _becomes(host, "node_cpu_seconds_total", values, DEPLOY + 0.04, mode=mode)
    load = [0.1 + 2.4 * min(1, done / 40) + 5 * part for done, part in zip(TOLD.served, fight, strict=True)]
    for name, minutes in (("node_load1", 1), ("node_load5", 5), ("node_load15", 15)):
        last = minutes * 60 // STEP
        mean = [sum(load[max(0, i - last + 1) : i + 1]) / last for i in range(len(load))]
        _becomes(host, name, mean, DEPLOY + 0.04)
    spent = [max(0.0, hour - 20) * -95 for hour in HOURS]
    _adds(host, "cloud_instance_cpu_credit_balance", spent)
    waiting = [min(0.85, done / 60 + 0.3 * part) for done, part in zip(TOLD.served, fight, strict=True)]
    _becomes(host, "node_pressure_cpu_waiting_seconds_total", waiting)
    for name, most in {
        "node_vmstat_pswpout": 900.0,
        "node_vmstat_pswpin": 700.0,
        "node_vmstat_pgmajfault": 260.0,
        "node_pressure_memory_waiting_seconds_total": 0.42,
        "node_pressure_memory_stalled_seconds_total": 0.2,
        "node_pressure_io_waiting_seconds_total": 0.6,
        "node_pressure_io_stalled_seconds_total": 0.3,
        "floodmark_disk_queue_depth": 7.6,
    }.items():
        _adds(host, name, fight, most)
    # Swap asks much of the host's own disk.
    for name, most in {
        "io_now": 8.0,
        "reads_completed_total": 420.0,
        "writes_completed_total": 260.0,
        "read_time_seconds_total": 4.2,
        "write_time_seconds_total": 3.4,
        "io_time_weighted_seconds_total": 7.6,
        "io_time_seconds_total": 0.9,
        "read_bytes_total": 420.0 * 16384,
        "written_bytes_total": 260.0 * 16384,
    }.items():
        _adds(host, f"node_disk_{name}", fight, most, device="nvme0n1")


def _database(host: Host) -> None:
    """Have its disk be the bottleneck, and its CPU not."""
    for name, most in {
        "cloud_db_disk_queue_depth": 30.0,
        "cloud_db_connections": 72.0,
        "cloud_db_cpu_ratio": 0.14,
    }.items():
        _adds(host, name, ASKED, most)
    burst = between(((-8, 0.98), (19.83, 0.98), (20.7, 0.03), (20.93, 0.01), (24, 0.6)))
    _becomes(host, "cloud_db_burst_balance_ratio", burst)
    for state, most in (("active", 6), ("idle in transaction", 9), ("idle", 22)):
        more = [float(round(most * part)) for part in ASKED]
        _adds(host, "pg_stat_activity_count", more, state=state)
    times = [done / rate for done, rate in zip(TOLD.served, USUAL, strict=True)]
    for name in ("pg_stat_statements_calls_total", "pg_stat_statements_seconds_total"):
        host.change(name, lambda hour, rate: rate * times[index(hour)], DEPLOY)
    host.change(
        "pg_stat_statements_seconds_total",
        lambda hour, spent: spent * (1 + 18 * ASKED[index(hour)]),
        DEPLOY,
        queryid="1002",
    )


def _chat(host: Host) -> None:
    """Have the old generation grow although collections run: at the end 87.9 % of the heap are used."""
    every = between(((-8, 16), (19.9, 16), (20.3, 8), (20.8, 4), (24, 4)))  # samples from one to the next
    old, live, eden = [], [], []
    left, since = 0.0, 1.0
    for i, part in enumerate(FILLS):
        since += 1 / every[i]
        if since >= 1:
            since -= 1
            left = (part - 0.04) * HEAP
        live.append(left)
        old.append(max(left, part * HEAP * (0.97 + 0.05 * since)))
        eden.append(min(255 * MIB, max(12 * MIB, 0.88 * HEAP - old[-1])) * (i % 4 + 1) / 4)
    for i in (index(END) - 1, index(END)):
        eden[i] = 0.879 * HEAP - old[i] - 8 * MIB
    for name, values, labels in (
        ("jvm_memory_used_bytes", old, {"id": "G1 Old Gen"}),
        ("jvm_memory_used_bytes", eden, {"id": "G1 Eden Space"}),
        ("jvm_gc_live_data_size_bytes", live, {}),
        ("jvm_gc_overhead", PAUSED, {}),
        ("jvm_gc_pause_seconds_sum", PAUSED, {}),
        ("jvm_gc_pause_seconds_count", [1 / STEP / 8 * 16 / each for each in every], {}),
        ("jvm_gc_pause_seconds_max", [0.03 + 3.2 * max(0.0, part - 0.4) for part in FILLS], {}),
        ("hikaricp_connections_active", [float(min(10, round(3 + 8 * part))) for part in ASKED], {}),
        ("hikaricp_connections_pending", [float(max(0, round(14 * part - 7))) for part in ASKED], {}),
        ("hikaricp_connections_timeout_total", [0.3 * max(0, part - 0.7) for part in ASKED], {}),
    ):
        _becomes(host, name, values, DEPLOY + 0.1, **labels)

    # Of what no alert asks a healthy host has nothing.
    host.gauge("process_cpu_usage", JVM, **SPRING)
    whole = [min(1.0, sum(parts)) for parts in zip(*_cpu(), strict=True)]
    host.gauge("system_cpu_usage", whole, **SPRING)
    busy = [
        float(min(200, round(2 + each * 0.4 + 150 * part)))
        for each, part in zip(MESSAGES, ASKED, strict=True)
    ]
    tomcat = {"name": "http-nio-8080", **SPRING}
    host.gauge("tomcat_threads_busy_threads", busy, **tomcat)
    host.gauge("tomcat_threads_config_max_threads", 200, **tomcat)
    threads = _scaled(busy, 1, 28)
    host.gauge("jvm_threads_live_threads", threads, **SPRING)
    for state, part in (("runnable", 0.15), ("timed-waiting", 0.55), ("waiting", 0.3)):
        host.gauge("jvm_threads_states_threads", _scaled(threads, part), state=state, **SPRING)
    takes = _scaled(ASKED, 1.8, 0.05)
    post = {"error": "none", "exception": "none", "method": "POST", "uri": "/messages", **SPRING}
    name = "http_server_requests_seconds"
    for status, outcome, share in (
        ("200", "SUCCESS", _scaled(ASKED, -0.04, 1)),
        ("503", "SERVER_ERROR", _scaled(ASKED, 0.04)),
    ):
        labels = {"status": status, "outcome": outcome, **post}
        rate = _product(MESSAGES, share)
        host.counter(f"{name}_count", rate, **labels)
        host.counter(f"{name}_sum", _product(rate, takes), **labels)
        host.gauge(f"{name}_max", _scaled(takes, 4), **labels)
        for bound in (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, math.inf):
            within = [1 - math.exp(-bound / seconds) for seconds in takes]
            host.counter(f"{name}_bucket", _product(rate, within), le=_edge(bound), **labels)


def _postgres(host: Host) -> None:
    """Add what no alert asks of postgres_exporter."""
    exporter = {"job": "postgres", "server": "shop-db:5432", "datname": "shop"}
    session = {"usename": "shop", "application_name": "", "backend_type": "client backend", **exporter}
    for state, least, most in (("idle in transaction", 0.2, 41.0), ("active", 0.1, 28.0)):
        oldest = [least + most * part * (i % 7 + 1) / 7 for i, part in enumerate(ASKED)]
        host.gauge("pg_stat_activity_max_tx_duration", oldest, state=state, **session)
    for event, least, most in (("IO", 0, 30), ("Lock", 0, 7), ("Client", 1, 3)):
        waiting = [float(round(least + most * part)) for part in ASKED]
        labels = {"state": "active", "wait_event_type": event, "wait_event": event, **session}
        host.gauge("pg_stat_activity_count", waiting, **labels)
    for mode, least, most in (
        ("accesssharelock", 12, 70),
        ("rowexclusivelock", 4, 22),
        ("exclusivelock", 1, 6),
    ):
        held = [float(round(least + most * part)) for part in ASKED]
        host.gauge("pg_locks_count", held, mode=mode, **exporter)
    for name, growth in {
        "xact_commit": _scaled(TOLD.served, 1.1),
        "xact_rollback": _product(TOLD.served, _scaled(ASKED, 0.09, 0.001)),
        "blks_hit": _scaled(TOLD.served, 900),
        "blks_read": [4 * done + 9000 * part for done, part in zip(TOLD.served, ASKED, strict=True)],
        "temp_bytes": _scaled(ASKED, 9e6, 3e4),
        "deadlocks": [0.0] * len(HOURS),
    }.items():
        host.counter(f"pg_stat_database_{name}", growth, datid="16384", **exporter)
    host.happens("pg_stat_database_deadlocks", 20.4)
    host.happens("pg_stat_database_deadlocks", 20.65, 2)
    host.gauge("floodmark_build_info", 1, version="0.1.0")
