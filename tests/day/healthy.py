"""A healthy day of one host: 2 CPUs, 4 GiB, a Django app under 4 sync workers, a Spring Boot beside it.

What happens in it that is no fault, and what alerts are known to take for one:
- traffic: quiet at night, threefold from 6 to 10 o'clock, a peak at half past 8 in the evening; a few 404 and
  500, a crawler at night that gets most of that hour's, one request in a while that takes 12 seconds
- max_requests with jitter: each worker's memory a sawtooth of its own
- a deploy each working hour (none on Sunday): a reload at even hours, a restart at odd ones (no master for
  one scrape, a queue at the next, a few 502 from the proxy); memory is low after it and grows back
- the nightly backup at 2: 8 minutes of a deep and slow disk queue, 10 of the database's; iowait, page cache,
  some pages to swap
- a report at 14: 20 minutes of a deep but quick disk queue
- a file system that fills by 3 GB a day and is emptied at midnight
- heap, live set and caches that grow until they are full; the Spring Boot's heap fills before each collection
- the Spring Boot deployed at half past 11, the exporter upgraded at half past 15; one source it may not use
"""

from __future__ import annotations

import itertools
import random
from functools import cache
from typing import NamedTuple

from tests.day.series import HOURS, LENGTH, RESET, STEP, Host, between, during, index, noise

APP = {"app": "shop"}
WORKERS = 4
MIB = 2**20
GIB = 2**30
TOTAL = 3.8 * GIB


class Deploys(NamedTuple):
    """The hours of a day's deploys, by their kind."""

    reloads: tuple[float, ...] = ()
    restarts: tuple[float, ...] = ()


WORKDAY = Deploys(*(tuple(hour + 5 / 60 for hour in hours) for hours in (range(10, 19, 2), range(9, 18, 2))))
SUNDAY = Deploys()

# Requests a second.
TRAFFIC = (
    *((-8, 5.0), (-3.5, 8.0), (-2, 5.0), (0, 1.2), (3, 0.4), (6, 0.6), (8, 2.0), (10, 4.0), (12, 4.5)),
    *((14, 4.0), (18, 5.0), (20.5, 8.0), (22, 5.0), (24, 1.2)),
)
BACKUP = (2.0, 2 + 8 / 60)

CAUSES = (
    *("oom_kill", "timeout", "max_requests", "reload", "scale_down", "shutdown", "shutdown_kill"),
    *("crash_signal", "boot_error", "nonzero_exit", "external_kill", "exit_unrequested", "sigkill_unknown"),
    "unknown",
)
SETTINGS = {
    "workers": WORKERS,
    "threads": 1,
    "timeout": 30,
    "graceful_timeout": 30,
    "max_requests": 1000,
    "max_requests_jitter": 200,
    "worker_connections": 1000,
    "backlog": 2048,
}
COLLECTORS = (
    *("load", "cpu", "memory", "vmstat", "pressure", "disk", "filesystem", "netstat", "filefd"),
    *("gunicorn", "requests", "runtime"),
)
SOURCES = (
    *("kernel_log", "gunicorn_log", "heartbeat", "agent", "agent_dirs", "agent_exits", "process_events"),
    *("control_socket", "backlog", "busy", "proportional_memory", "state", "pressure"),
)

# Which part of all requests took no longer than so many seconds: the mean is 90 ms, the p95 250 ms.
QUICK = {
    0.005: 0.02,
    0.01: 0.08,
    0.025: 0.3,
    0.05: 0.55,
    0.1: 0.8,
    0.25: 0.955,
    0.5: 0.985,
    1.0: 0.995,
    2.5: 0.999,
    5.0: 1.0,
    10.0: 1.0,
    30.0: 1.0,
    60.0: 1.0,
}
WAITS = {
    0.005: 0.9,
    0.01: 0.95,
    0.025: 0.98,
    0.05: 0.99,
    0.1: 0.995,
    0.25: 0.999,
    0.5: 1.0,
    1.0: 1.0,
    2.5: 1.0,
    5.0: 1.0,
    10.0: 1.0,
    30.0: 1.0,
    60.0: 1.0,
}
PAUSES = {
    0.0001: 0.6,
    0.0005: 0.9,
    0.001: 0.95,
    0.0025: 0.98,
    0.005: 0.99,
    0.01: 0.995,
    0.025: 0.998,
    0.05: 1.0,
    0.1: 1.0,
    0.25: 1.0,
    0.5: 1.0,
    1.0: 1.0,
}


@cache
def healthy(deploys: Deploys = WORKDAY) -> Host:
    """Return the day. It is the same one each time; take a copy to change it."""
    host = Host()
    traffic = [rate * by for rate, by in zip(between(TRAFFIC), noise("traffic", 0.15), strict=True)]
    busy = [0.09 * rate for rate in traffic]
    _itself(host)
    anonymous = _workers(host, traffic, deploys)
    _requests(host, traffic, busy)
    for hour in deploys.restarts:
        refused(host, hour, 3)
    _python(host, traffic)
    _memory(host, anonymous)
    _cpu(host, busy, [*deploys.reloads, *deploys.restarts])
    _disk(host)
    _filesystem(host)
    _database(host, traffic)
    _jvm(host)
    _judges(host)
    # An upgrade of the exporter itself.
    host.vanish(15.5, 15.5 + 1 / 60)
    return host


def _itself(host: Host) -> None:
    host.gauge("up", 1)
    for collector in COLLECTORS:
        host.gauge("floodmark_scrape_collector_success", 1, collector=collector)
        host.gauge("floodmark_scrape_collector_duration_seconds", 0.001, collector=collector)
    for source in SOURCES:
        host.gauge("floodmark_source_available", source != "process_events", source=source)
    host.counter("floodmark_statsd_rejected_total", 0)
    host.gauge("process_start_time_seconds", -3600)


def _workers(host: Host, traffic: list[float], deploys: Deploys) -> list[float]:
    """Add masters and workers; return the anonymous memory of all."""
    chance = random.Random("workers")  # noqa: S311
    reloads, restarts = ({index(hour) for hour in hours} for hours in deploys)
    recycles, births = _lives(traffic, chance, reloads | restarts)
    exits = {cause: [0.0] * LENGTH for cause in CAUSES}
    for i, count in recycles.items():
        exits["max_requests"][i] += count / STEP
    for cause, moments in (("reload", reloads), ("shutdown", restarts)):
        for i in moments:
            exits[cause][i] += WORKERS / STEP
    for cause, growth in exits.items():
        host.counter("gunicorn_worker_exits_total", growth, cause=cause, **APP)
    boots = [sum(growth[i] for growth in exits.values()) for i in range(LENGTH)]
    host.counter("gunicorn_worker_boots_total", boots, **APP)
    host.counter("gunicorn_worker_sigkills_total", 0, **APP)
    host.counter("floodmark_deaths_recovered_total", 0, **APP)
    host.counter("gunicorn_reloads_total", [(i in reloads) / STEP for i in range(LENGTH)], **APP)

    host.gauge("gunicorn_up", 1, **APP)
    host.gauge("gunicorn_info", 1, version="25.1.0", worker_class="sync", preload="false", **APP)
    for setting, value in SETTINGS.items():
        host.gauge("gunicorn_config", value, setting=setting, **APP)
    host.gauge("gunicorn_workers_target", WORKERS, **APP)
    host.gauge("gunicorn_slots", WORKERS, **APP)

    # In flight at the moment of a scrape; four at once are rare, and gone at the next.
    serving = [min(_poisson(0.09 * rate, chance), WORKERS) for rate in traffic]
    host.gauge("gunicorn_workers", [float(count) for count in serving], state="busy", **APP)
    host.gauge("gunicorn_workers", [float(WORKERS - count) for count in serving], state="idle", **APP)
    host.gauge("gunicorn_workers", 0, state="unknown", **APP)
    host.gauge("gunicorn_requests_in_flight", [float(count) for count in serving], **APP)
    booting = {i + 1 for i in restarts}
    waiting = [6.0 if i in booting else float(chance.random() < 0.01) for i in range(LENGTH)]
    host.gauge("gunicorn_requests_queued", waiting, where="listen", **APP)
    host.gauge("gunicorn_listen_backlog", waiting, listener="127.0.0.1:8000", **APP)
    host.gauge("gunicorn_listen_backlog_limit", 2048, listener="127.0.0.1:8000", **APP)

    sizes = [_worker(host, slot, births[slot], traffic, reloads | restarts) for slot in range(WORKERS)]
    anonymous = [30 * MIB + sum(parts) for parts in zip(*sizes, strict=True)]
    headroom = [1.9 * GIB - (total - 300 * MIB) for total in anonymous]
    for kind, values in {
        "anonymous": anonymous,
        "resident": [total * 1.25 for total in anonymous],
        "proportional": [total * 1.1 for total in anonymous],
        "swap": [2.0 * MIB] * LENGTH,
    }.items():
        host.gauge("gunicorn_memory_bytes", values, kind=kind, **APP)
    host.gauge("gunicorn_memory_limit_bytes", TOTAL, **APP)
    host.gauge("python_heap_max_bytes", TOTAL, **APP)
    host.gauge("gunicorn_memory_headroom_bytes", headroom, **APP)
    for hour in deploys.restarts:
        _without_master(host, hour)
    return anonymous


def _without_master(host: Host, hour: float) -> None:
    """Have a scrape find neither master nor workers: the exporter says 0 of some, and nothing of the rest."""
    for key in [key for key in host.gauges if APP.items() <= dict(key.labels).items()]:
        zero = key.name in {"gunicorn_up", "gunicorn_workers", "gunicorn_memory_bytes"}
        host.change(key.name, 0 if zero else None, hour, hour + STEP / 3600, **dict(key.labels))


def _lives(
    traffic: list[float], chance: random.Random, deploys: set[int]
) -> tuple[dict[int, int], list[list[int]]]:
    """Return when how many workers are recycled, and when each slot's workers were born."""
    recycles: dict[int, int] = {}
    births: list[list[int]] = [[0] for _ in range(WORKERS)]
    served = [250.0 * slot for slot in range(WORKERS)]
    limits = [1000 + chance.randint(0, 200) for _ in range(WORKERS)]
    for i, rate in enumerate(traffic):
        for slot in range(WORKERS):
            served[slot] += rate * STEP / WORKERS
            done = served[slot] >= limits[slot]
            if done:
                recycles[i] = recycles.get(i, 0) + 1
            if done or i in deploys:
                served[slot] = 0
                limits[slot] = 1000 + chance.randint(0, 200)
                births[slot].append(i)
    return recycles, births


def _worker(host: Host, slot: int, births: list[int], traffic: list[float], deploys: set[int]) -> list[float]:
    """Add a slot's workers; return their anonymous memory."""
    labels = {**APP, "worker": str(slot)}
    served = 250.0 * slot
    started = -3600.0 * (1 + slot)
    chance = random.Random(f"worker {slot}")  # noqa: S311
    sizes, starts, blocks, cpu = [], [], [], []
    deaths = set(births[1:])
    for i, rate in enumerate(traffic):
        if i in deaths:
            # Some time since the last scrape; a deploy starts all within a second.
            started = round(i * STEP - (1 + slot / 4 if i in deploys else chance.uniform(0, STEP)), 2)
            served = 0.0
        else:
            served += rate * STEP / WORKERS
        warm = 1 - 0.3 * 0.5 ** (served / 20)  # imports and caches, by the first requests
        sizes.append(round((70 * warm + 0.015 * served) * MIB / 4096) * 4096.0)
        blocks.append(float(round(220_000 * warm + 30 * min(served, 500))))
        starts.append(started)
        cpu.append(RESET if i in deaths else rate / WORKERS * 0.03)
    host.gauge("gunicorn_worker_resident_memory_bytes", [size * 1.25 for size in sizes], **labels)
    host.gauge("gunicorn_worker_proportional_memory_bytes", [size * 1.1 for size in sizes], **labels)
    host.gauge("python_heap_used_bytes", sizes, **labels)
    host.gauge("gunicorn_worker_swap_bytes", 0.5 * MIB, **labels)
    host.gauge("gunicorn_worker_start_time_seconds", starts, **labels)
    host.gauge("gunicorn_worker_heartbeat_age_seconds", 0.5, **labels)
    host.gauge("gunicorn_worker_open_fds", 14, **labels)
    host.gauge("gunicorn_worker_threads", 1, **labels)
    host.counter("gunicorn_worker_cpu_seconds_total", cpu, **labels)
    host.gauge("python_heap_allocated_blocks", [count + 3000 for count in blocks], **labels)
    host.gauge("python_heap_live_blocks", blocks, **labels)
    host.gauge("python_heap_live_bytes", sizes, **labels)
    return sizes


def _poisson(mean: float, chance: random.Random) -> int:
    return sum(1 for _ in itertools.takewhile(lambda total: total < mean, _arrivals(chance)))


def _arrivals(chance: random.Random) -> itertools.accumulate[float]:
    return itertools.accumulate(chance.expovariate(1) for _ in itertools.count())


def _requests(host: Host, traffic: list[float], busy: list[float]) -> None:
    for method, status, part in (
        *(("GET", "200", 0.85), ("POST", "200", 0.08), ("POST", "302", 0.04), ("GET", "304", 0.02)),
        ("GET", "404", 0.01),
    ):
        host.counter(
            "gunicorn_requests_total", [rate * part for rate in traffic], method=method, status=status, **APP
        )
    host.counter("gunicorn_requests_total", 0, method="GET", status="500", **APP)
    host.histogram("gunicorn_request_duration_seconds", traffic, QUICK, 0.09, **APP)
    host.histogram("gunicorn_request_queue_seconds", traffic, WAITS, 0.003, **APP)
    host.counter("gunicorn_request_busy_seconds_total", busy, **APP)
    for route, part in {"/": 0.3, "/items/<int:pk>/": 0.6, "other": 0.1}.items():
        labels = {**APP, "route": route}
        host.counter(
            "gunicorn_route_requests_total", [rate * part for rate in traffic], status="2xx", **labels
        )
        host.counter(
            "gunicorn_route_duration_seconds_total", [0.09 * rate * part for rate in traffic], **labels
        )
    # The few errors of a day; a crawler at night finds two, and many pages that aren't.
    for hour in (-6.3, -2.1, 1.4, 9.7, 13.2, 16.9, 20.4, 21.8):
        host.happens("gunicorn_requests_total", hour, status="500")
    host.happens("gunicorn_requests_total", 3.5, 2, status="500")
    host.happens("gunicorn_requests_total", 3.5, 200, status="404")
    # Single slow ones.
    for hour in (-5.5, -1.2, 4.3, 11.6, 15.5, 19.2):
        slow(host, hour, 12.0)

    proxied = {"server": "shop.example.org"}
    for status, part in {"200": 0.93, "302": 0.04, "304": 0.02, "404": 0.01}.items():
        host.counter("proxy_requests_total", [rate * part for rate in traffic], status=status, **proxied)
    for status in ("500", "502", "504"):
        host.counter("proxy_requests_total", 0, status=status, **proxied)
    for signature in ("refused", "worker_killed", "slow_upstream", "other"):
        host.counter("proxy_gateway_errors_total", 0, signature=signature, **proxied)
    host.histogram("proxy_request_duration_seconds", traffic, QUICK, 0.093, status_class="2xx", **proxied)


def slow(host: Host, hour: float, seconds: float, times: float = 1) -> None:
    """Have requests that took so long end at an hour."""
    for bound in (*QUICK, float("inf")):
        if seconds <= bound:
            edge = "+Inf" if bound == float("inf") else repr(bound)
            host.happens("gunicorn_request_duration_seconds_bucket", hour, times, le=edge)
    host.happens("gunicorn_request_duration_seconds_count", hour, times)
    host.happens("gunicorn_request_duration_seconds_sum", hour, times * seconds)
    host.happens("gunicorn_request_busy_seconds_total", hour, times * seconds)


def refused(host: Host, hour: float, times: float, signature: str = "refused") -> None:
    """Have the proxy answer 502 at an hour."""
    host.happens("proxy_requests_total", hour, times, status="502")
    host.happens("proxy_gateway_errors_total", hour, times, signature=signature)


def _python(host: Host, traffic: list[float]) -> None:
    for generation, each in {"0": 5.0, "1": 0.5, "2": 0.02}.items():
        for slot in range(WORKERS):
            growth = [rate / WORKERS * each for rate in traffic]
            labels = {"generation": generation, "worker": str(slot), **APP}
            host.counter("python_gc_collections_total", growth, **labels)
        rates = [rate * each for rate in traffic]
        mean = {"0": 0.0001, "1": 0.0006, "2": 0.02}[generation]
        host.histogram("python_gc_pause_seconds", rates, PAUSES, mean, generation=generation, **APP)
        host.counter(
            "python_gc_objects_collected_total", [rate * 20 for rate in rates], generation=generation, **APP
        )
        host.counter("python_gc_objects_uncollectable_total", 0, generation=generation, **APP)


def _memory(host: Host, anonymous: list[float]) -> None:
    backup = during(*BACKUP)
    host.gauge("node_memory_MemTotal_bytes", TOTAL)
    available = [2.4 * GIB - total - 0.1 * GIB * (i in backup) for i, total in enumerate(anonymous)]
    host.gauge("node_memory_MemAvailable_bytes", available)
    # The backup reads every file once: free memory becomes page cache, and stays that.
    free = [(1.2 if hour < BACKUP[0] else 0.12) * GIB for hour in HOURS]
    host.gauge("node_memory_MemFree_bytes", free)
    host.gauge("node_memory_Cached_bytes", [2.0 * GIB - size for size in free])
    host.gauge("node_memory_Buffers_bytes", 0.05 * GIB)
    host.gauge("node_memory_Dirty_bytes", 1 * MIB)
    host.gauge("node_memory_SwapTotal_bytes", 1 * GIB)
    host.gauge("node_memory_SwapFree_bytes", [(0.95 if hour < BACKUP[0] else 0.85) * GIB for hour in HOURS])
    host.gauge("node_memory_SwapCached_bytes", 10 * MIB)
    out = [120.0 if i in backup else 0.0 for i in range(LENGTH)]
    host.counter("node_vmstat_pswpout", out)
    # What was put there is asked for in the morning, bit by bit.
    host.counter("node_vmstat_pswpin", [20.0 if 6 <= hour < 9 else 0.5 for hour in HOURS])
    host.counter("node_vmstat_pgmajfault", [5.0 if 6 <= hour < 9 else 0.2 for hour in HOURS])
    host.counter("node_vmstat_oom_kill", 0)
    waiting = [0.02 if i in backup else 0.0005 for i in range(LENGTH)]
    host.counter("node_pressure_memory_waiting_seconds_total", waiting)
    host.counter("node_pressure_memory_stalled_seconds_total", [part / 2 for part in waiting])


def _cpu(host: Host, busy: list[float], deploys: list[float]) -> None:
    deploying = {i for hour in deploys for i in during(hour, hour + 2 / 60)}
    backup = during(*BACKUP)
    # Of one CPU: a third of a request is computing, a deploy builds and imports for two minutes.
    user = [0.35 * used / 2 + 0.03 + 0.7 * (i in deploying) for i, used in enumerate(busy)]
    waits = [0.45 if i in backup else 0.004 for i in range(LENGTH)]
    for cpu in ("0", "1"):
        modes = {
            "user": user,
            "system": [part / 5 for part in user],
            "iowait": waits,
            "steal": [0.01] * LENGTH,
            "softirq": [0.002] * LENGTH,
            **{mode: [0.0] * LENGTH for mode in ("nice", "irq")},
        }
        modes["idle"] = [max(0.0, 1 - sum(parts)) for parts in zip(*modes.values(), strict=True)]
        for mode, growth in modes.items():
            host.counter("node_cpu_seconds_total", growth, cpu=cpu, mode=mode)
    load = [2 * part + 2 * waiting + 0.1 for part, waiting in zip(user, waits, strict=True)]
    for name in ("node_load1", "node_load5", "node_load15"):
        host.gauge(name, load)
    host.counter("node_pressure_cpu_waiting_seconds_total", [part / 3 for part in user])
    host.gauge("node_boot_time_seconds", -9 * 86400)
    host.gauge("node_filefd_allocated", 2112)
    for name in ("node_netstat_TcpExt_ListenOverflows", "node_netstat_TcpExt_ListenDrops"):
        host.counter(name, 0)
    # Some bursts of a day cost credits; they come back at night.
    host.gauge(
        "cloud_instance_cpu_credit_balance",
        [round(value / 5) * 5.0 for value in between(((-8, 500), (0, 520), (7, 576), (21, 430), (24, 450)))],
    )
    host.gauge("cloud_instance_burst_capacity_ratio", 0.9)


def _disk(host: Host) -> None:
    backup, report = during(*BACKUP), during(14, 14 + 20 / 60)
    reads = [160.0 if i in backup else 4000.0 if i in report else 2.0 for i in range(LENGTH)]
    writes = [20.0 if i in backup else 100.0 if i in report else 12.0 for i in range(LENGTH)]
    takes = [0.025 if i in backup else 0.0007 if i in report else 0.0015 for i in range(LENGTH)]
    spent = {
        "read": [rate * seconds for rate, seconds in zip(reads, takes, strict=True)],
        "write": [rate * seconds for rate, seconds in zip(writes, takes, strict=True)],
    }
    disk = {"device": "nvme0n1"}
    host.counter("node_disk_reads_completed_total", reads, **disk)
    host.counter("node_disk_writes_completed_total", writes, **disk)
    host.counter("node_disk_read_time_seconds_total", spent["read"], **disk)
    host.counter("node_disk_write_time_seconds_total", spent["write"], **disk)
    depth = [read + write for read, write in zip(spent["read"], spent["write"], strict=True)]
    host.counter("node_disk_io_time_weighted_seconds_total", depth, **disk)
    host.counter("node_disk_io_time_seconds_total", [min(1.0, queued) for queued in depth], **disk)
    host.counter("node_disk_read_bytes_total", [rate * 16384 for rate in reads], **disk)
    host.counter("node_disk_written_bytes_total", [rate * 16384 for rate in writes], **disk)
    host.gauge("node_disk_io_now", [float(round(queued)) for queued in depth], **disk)
    host.gauge("floodmark_disk_queue_depth", depth, **disk)
    for name in {key.name for key in host.counters if key.name.startswith("node_disk_")}:
        host.counter(name, 0, device="loop0")  # a snap: read once at boot
    waiting = [0.6 if i in backup else 0.1 if i in report else 0.01 for i in range(LENGTH)]
    host.counter("node_pressure_io_waiting_seconds_total", waiting)
    host.counter("node_pressure_io_stalled_seconds_total", [part / 2 for part in waiting])


def _database(host: Host, traffic: list[float]) -> None:
    # The managed database backs itself up as well, and takes ten minutes for it.
    database = {"service": "lightsail", "database": "shop-db"}
    theirs = during(2.5, 2.5 + 10 / 60)
    queue = noise("database", 0.5)
    host.gauge(
        "cloud_db_disk_queue_depth",
        [3.0 if i in theirs else 0.2 * queue[i] for i in range(LENGTH)],
        **database,
    )
    host.gauge("cloud_db_connections", [float(round(8 * by)) for by in noise("connections", 0.3)], **database)
    host.gauge("cloud_db_cpu_ratio", [0.08 * by for by in noise("database cpu", 0.4)], **database)
    host.gauge("cloud_db_free_storage_bytes", 24 * GIB, **database)
    host.gauge("cloud_db_burst_balance_ratio", 0.98, **database)
    # A sample each minute, that the cloud has after two to three.
    host.gauge("cloud_sample_age_seconds", [120.0 + 30 * (i % 2) for i in range(LENGTH)])

    exporter = {"job": "postgres"}
    server = {"server": "shop-db:5432", **exporter}
    host.gauge("up", 1, **exporter)
    host.gauge("pg_settings_max_connections", 100, **server)
    pool = {
        "datname": "shop",
        "usename": "shop",
        "application_name": "",
        "backend_type": "client backend",
        **server,
    }
    for state, count in {"active": 2.0, "idle": 7.0, "idle in transaction": 1.0}.items():
        connections = [float(round(count * by)) for by in noise(state, 0.3)]
        host.gauge("pg_stat_activity_count", connections, state=state, **pool)
    slower = [4.0 if i in theirs else 1.0 for i in range(LENGTH)]
    for query, part, seconds in (("1001", 3.0, 0.004), ("1002", 0.1, 0.12)):
        labels = {"datname": "shop", "user": "shop", "queryid": query, **exporter}
        calls = [rate * part for rate in traffic]
        host.counter("pg_stat_statements_calls_total", calls, **labels)
        spent = [rate * seconds * by for rate, by in zip(calls, slower, strict=True)]
        host.counter("pg_stat_statements_seconds_total", spent, **labels)
    # The report's one query is slow, and asked once.
    labels = {"datname": "shop", "user": "shop", "queryid": "1003", **exporter}
    host.counter("pg_stat_statements_calls_total", 0, **labels)
    host.counter("pg_stat_statements_seconds_total", 0, **labels)
    host.happens("pg_stat_statements_calls_total", 14.1, queryid="1003")
    host.happens("pg_stat_statements_seconds_total", 14.1, 45, queryid="1003")


SPRING = {"job": "spring", "application": "chat"}
HEAP = 512 * MIB


def _jvm(host: Host) -> None:
    """Add a JVM with G1: the old generation's maximum is the heap's, the others have none (-1)."""
    host.gauge("up", 1, job="spring")
    started = index(11.5)
    warm = [min(1.0, (i - started) * STEP / 1800) if i >= started else 1.0 for i in range(LENGTH)]
    old = [(60 + 130 * part) * MIB for part in warm]
    # Four minutes from one collection to the next: seven eighths of all heap are in use before it.
    teeth = [(i % 8) / 7 for i in range(LENGTH)]
    for pool, values, most in (
        ("G1 Eden Space", [255 * MIB * part for part in teeth], -1.0),
        ("G1 Survivor Space", [8.0 * MIB] * LENGTH, -1.0),
        ("G1 Old Gen", old, float(HEAP)),
    ):
        host.gauge("jvm_memory_used_bytes", values, area="heap", id=pool, **SPRING)
        host.gauge("jvm_memory_max_bytes", most, area="heap", id=pool, **SPRING)
    host.gauge("jvm_memory_used_bytes", 90 * MIB, area="nonheap", id="Metaspace", **SPRING)
    host.gauge("jvm_memory_max_bytes", -1, area="nonheap", id="Metaspace", **SPRING)
    host.gauge("jvm_gc_live_data_size_bytes", [size * 0.9 for size in old], **SPRING)
    host.gauge("jvm_gc_max_data_size_bytes", HEAP, **SPRING)
    booting = during(11.5, 11.55)
    overhead = [0.2 if i in booting else 0.004 for i in range(LENGTH)]
    host.gauge("jvm_gc_overhead", overhead, **SPRING)
    pause = {
        "action": "end of minor GC",
        "cause": "G1 Evacuation Pause",
        "gc": "G1 Young Generation",
        **SPRING,
    }
    host.counter("jvm_gc_pause_seconds_count", 1 / 240, **pause)
    host.counter("jvm_gc_pause_seconds_sum", overhead, **pause)
    # Micrometer keeps the longest of some minutes.
    full = during(3.2, 3.25)
    host.gauge("jvm_gc_pause_seconds_max", [0.6 if i in full else 0.03 for i in range(LENGTH)], **pause)
    hikari = {"pool": "HikariPool-1", **SPRING}
    host.gauge("hikaricp_connections_max", 10, **hikari)
    host.gauge("hikaricp_connections_active", [float(round(3 * by)) for by in noise("hikari", 0.6)], **hikari)
    host.gauge("hikaricp_connections_pending", [float(i % 150 == 0) for i in range(LENGTH)], **hikari)
    host.counter("hikaricp_connections_timeout_total", 0, **hikari)


def _judges(host: Host) -> None:
    """Add Prometheus and Alertmanager; each host of the test has its own."""
    host.gauge("up", 1, job="prometheus")
    host.gauge("up", 1, job="alertmanager")
    for name in (
        "notifications_dropped_total",
        "tsdb_compactions_failed_total",
        "tsdb_wal_writes_failed_total",
    ):
        host.counter(f"prometheus_{name}", 0, job="prometheus")
    group = {"rule_group": "/etc/prometheus/rules/host.rules.yml;floodmark-host", "job": "prometheus"}
    host.counter("prometheus_rule_evaluation_failures_total", 0, **group)
    for integration, rate in {"slack": 0.0, "webhook": 1 / 60}.items():
        labels = {"integration": integration, "job": "alertmanager"}
        host.counter("alertmanager_notifications_total", rate, **labels)
        host.counter("alertmanager_notifications_failed_total", 0, **labels)
    # A message in a while; one beat that got no answer.
    for hour in (-4.0, 7.5, 13.3):
        host.happens("alertmanager_notifications_total", hour, integration="slack")
    host.happens("alertmanager_notifications_failed_total", 5.2, integration="webhook")


def _filesystem(host: Host) -> None:
    root = {"device": "/dev/root", "fstype": "ext4", "mountpoint": "/"}
    size = 40 * GIB
    # 41 % are free after the rotation and 34 % before it; an image of 300 MB stays until the next deploy.
    left = [0.41 * size - 3 * GIB * (hour % 24) / 24 - 300 * MIB for hour in HOURS]
    host.gauge("node_filesystem_size_bytes", size, **root)
    host.gauge("node_filesystem_avail_bytes", [float(round(free / MIB) * MIB) for free in left], **root)
    host.gauge("node_filesystem_free_bytes", [free + 2 * GIB for free in left], **root)
    host.gauge("node_filesystem_readonly", 0, **root)
    host.gauge("node_filesystem_device_error", 0, **root)
    efi = {"device": "/dev/nvme0n1p15", "fstype": "vfat", "mountpoint": "/boot/efi"}
    host.gauge("node_filesystem_size_bytes", 104 * MIB, **efi)
    host.gauge("node_filesystem_avail_bytes", 98 * MIB, **efi)
    host.gauge("node_filesystem_free_bytes", 98 * MIB, **efi)
    host.gauge("node_filesystem_readonly", 0, **efi)
    host.gauge("node_filesystem_device_error", 0, **efi)
