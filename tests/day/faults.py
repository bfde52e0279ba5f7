"""Each alert's own fault: how the healthy day is changed, and what exactly is told of it.

A fault is a host of its own, by the function's name; all run beside each other and the healthy one, so that
a rule which mixes hosts is found out. What is told is what inhibition leaves: a cause, not its symptoms.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from tests.day.healthy import GIB, HEAP, MIB, SUNDAY, TOTAL, TRAFFIC, WORKERS, healthy, refused
from tests.day.series import RUN_UP, between, index

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.day.inhibition import Alert
    from tests.day.series import Host


class Told(NamedTuple):
    """An alert that is expected, with some of its labels."""

    alertname: str
    severity: str
    labels: tuple[tuple[str, str], ...] = ()

    def is_(self, alert: Alert) -> bool:
        """Return whether an alert is this one."""
        return {("alertname", self.alertname), ("severity", self.severity), *self.labels} <= alert


class Fault(NamedTuple):
    """What is wrong with a host."""

    instance: str
    change: Callable[[Host], None]
    expected: tuple[Told, ...] = ()
    # What is played: from where the host is born, long enough before for what looks back, to after its end.
    # Before the fault the day is the healthy one's.
    hours: tuple[float, float] = (6.0, 14.0)
    alone: bool = False  # it is nothing of a host's: a run for itself
    without: str = ""  # a rule that is missing


def quiet(host: Host) -> None:
    """Have it be Sunday: nothing is deployed, so nothing but recycling ends what workers have grown to."""
    sunday = healthy(SUNDAY)
    host.gauges, host.counters = dict(sunday.gauges), dict(sunday.counters)


HEALTHY = Fault("healthy", lambda _: None)
HEALTHY_SUNDAY = Fault("healthy_sunday", quiet)
FAULTS: list[Fault] = []
_EVENING_BEFORE = (-8.0, 14.0)  # for rules that look back on most of a day


def fault(  # noqa: PLR0913  # said by name
    alertname: str,
    severity: str,
    *,
    also: dict[Told, str] | None = None,
    hours: tuple[float, float] = (6.0, 14.0),
    alone: bool = False,
    without: str = "",
    **labels: str,
) -> Callable[[Callable[[Host], None]], Callable[[Host], None]]:
    """Make a function that changes a host the fault of an alert; `also` is what else is told, and why."""

    def add(change: Callable[[Host], None]) -> Callable[[Host], None]:
        expected = (told(alertname, severity, **labels), *(also or {}))
        FAULTS.append(Fault(change.__name__, change, expected, hours, alone, without))
        return change

    return add


def told(alertname: str, severity: str, **labels: str) -> Told:
    """Return an alert that is expected."""
    return Told(alertname, severity, tuple(labels.items()))


# --- floodmark itself


@fault("TargetDown", "critical", job="floodmark")
def exporter_gone(host: Host) -> None:
    """At half past 12 it is stopped, with its host's series."""
    host.vanish(12.5)


@fault("TargetDown", "critical", alone=True, hours=(12, 13))
def no_target(host: Host) -> None:
    """The list of hosts is empty; Prometheus still scrapes itself."""
    for series in (host.gauges, host.counters):
        for key in [key for key in series if ("job", "floodmark") in key.labels]:
            del series[key]


@fault("HostGap", "warning", job="floodmark")
def frozen(host: Host) -> None:
    """From 12 to 12:05 there is nothing, not even a failed scrape: Prometheus stood still with its host."""
    for name in {key.name for key in (*host.gauges, *host.counters)}:
        host.change(name, None, 12, 12.1)


@fault("ExporterBlind", "warning", collector="disk")
def blind_collector(host: Host) -> None:
    """From 12 on the disk collector fails."""
    host.change("floodmark_scrape_collector_success", 0, 12, collector="disk")
    for name in {key.name for key in host.counters if key.name.startswith("node_disk_")}:
        host.change(name, None, 12)


@fault("ExporterBlind", "warning", source="kernel_log")
def blind_source(host: Host) -> None:
    """From 12 on the kernel's log is refused."""
    host.change("floodmark_source_available", 0, 12, source="kernel_log")


@fault("CloudMetricsStale", "warning")
def silent_cloud(host: Host) -> None:
    """From 12 on the cloud tells nothing new."""
    host.change("cloud_sample_age_seconds", lambda hour, age: age + (hour - 12) * 3600, 12)


@fault(
    "ThresholdMissing", "warning", alone=True, hours=(12, 13), without="floodmark:threshold:disk_queue_depth"
)
def threshold_missing(_: Host) -> None:
    """One of the thresholds was deleted."""


@fault("NotificationsFailing", "critical", integration="slack")
def slack_refuses(host: Host) -> None:
    """From 12 on a message a minute is tried, and refused."""
    for name in ("alertmanager_notifications_total", "alertmanager_notifications_failed_total"):
        host.change(name, 1 / 60, 12, integration="slack")


@fault("NotificationsFailing", "critical", job="prometheus")
def no_alertmanager(host: Host) -> None:
    """From 12 on Prometheus finds nobody to take its alerts."""
    host.change("prometheus_notifications_dropped_total", 0.1, 12)


@fault("RuleFailing", "warning")
def rule_failing(host: Host) -> None:
    """From 12 on a rule meets the same series twice."""
    host.change("prometheus_rule_evaluation_failures_total", 1 / 15, 12)


@fault("PrometheusDiskFull", "critical")
def prometheus_disk_full(host: Host) -> None:
    """From 12 on the log of new samples can't be written."""
    host.change("prometheus_tsdb_wal_writes_failed_total", 5, 12)


# --- disks and file systems


@fault("DiskQueueHigh", "warning", device="nvme0n1")
def disk_out_of_credits(host: Host) -> None:
    """From 12 to 13 each request takes 60 ms, and 20 wait."""
    disk = {"device": "nvme0n1"}
    for name, growth in {
        "reads_completed_total": 300.0,
        "writes_completed_total": 33.0,
        "read_time_seconds_total": 18.0,
        "write_time_seconds_total": 2.0,
        "io_time_weighted_seconds_total": 20.0,
    }.items():
        host.change(f"node_disk_{name}", growth, 12, 13, **disk)


@fault("FilesystemFillingUp", "warning", hours=(0, 14), mountpoint="/")
def log_at_debug(host: Host) -> None:
    """From 5 to 14 the root file system fills by a gigabyte an hour."""
    host.change(
        "node_filesystem_avail_bytes", lambda hour, free: free - (hour - 5) * GIB, 5, 14, mountpoint="/"
    )


@fault("FilesystemFillingUp", "critical", mountpoint="/")
def core_dumps(host: Host) -> None:
    """At noon it is full but for a gigabyte, within minutes."""
    host.change(
        "node_filesystem_avail_bytes",
        lambda hour, free: max(1 * GIB, free - (hour - 12) * 150 * GIB),
        *(12, 14),
        mountpoint="/",
    )


# --- CPU and its credits


@fault("CpuSteal", "warning")
def neighbours(host: Host) -> None:
    """From 12 to 13 the hypervisor gives a third of the CPUs to others."""
    host.change("node_cpu_seconds_total", 0.35, 12, 13, mode="steal")
    host.change("node_cpu_seconds_total", lambda _, idle: max(0, idle - 0.35), 12, 13, mode="idle")


@fault("CpuSaturated", "warning")
def image_resizing(host: Host) -> None:
    """From 12 to 13 six processes compute on two CPUs; requests take their turn and twice the time."""
    for mode, share in {"user": 0.9, "system": 0.08, "idle": 0.01, "iowait": 0.0}.items():
        host.change("node_cpu_seconds_total", share, 12, 13, mode=mode)
    for name in ("node_load1", "node_load5", "node_load15"):
        host.change(name, 6, 12, 13)


@fault("CpuCreditsLow", "warning")
def credits_spent(host: Host) -> None:
    """From 12 on the last credits go."""
    host.change("cloud_instance_cpu_credit_balance", lambda hour, _: 19 - (hour - 12) * 9, 12)


@fault("CpuCreditsLow", "warning")
def burst_capacity_spent(host: Host) -> None:
    """The same on Lightsail."""
    host.change("cloud_instance_burst_capacity_ratio", lambda hour, _: 0.09 - (hour - 12) * 0.04, 12)


# --- memory


def leaks(host: Host, size: float, begin: float) -> None:
    """Have all workers hold so many bytes an hour more, together, until a restart at 14; nobody deploys."""
    quiet(host)
    host.change("gunicorn_memory_bytes", lambda hour, held: held + (hour - begin) * size, begin, 14)
    for name in ("gunicorn_worker_resident_memory_bytes", "gunicorn_worker_proportional_memory_bytes"):
        host.change(name, lambda hour, held: held + (hour - begin) * size / WORKERS, begin, 14)
    for name in ("gunicorn_memory_headroom_bytes", "node_memory_MemAvailable_bytes"):
        host.change(name, lambda hour, left: left - (hour - begin) * size, begin, 14)


@fault("RssCreep", "warning", hours=_EVENING_BEFORE, app="shop")
def leak(host: Host) -> None:
    """From midnight on 16 MiB an hour are never given back."""
    leaks(host, 16 * MIB, 0)


@fault(
    "MemoryFullSoon",
    "warning",
    also={told("RssCreep", "warning"): "the same leak, hours before: there is more than a day left"},
    hours=_EVENING_BEFORE,
    app="shop",
)
def quick_leak(host: Host) -> None:
    """The same by 90 MiB: full within the day."""
    leaks(host, 90 * MIB, 0)


@fault("MemoryOvercommitted", "warning", app="shop")
def one_worker_grown(host: Host) -> None:
    """From 11 on one worker holds 700 MiB: four such don't fit."""
    more = 630 * MIB
    for name in ("gunicorn_worker_resident_memory_bytes", "gunicorn_worker_proportional_memory_bytes"):
        host.change(name, lambda _, held: held + more, 11, worker="2")
    host.change("gunicorn_memory_bytes", lambda _, held: held + more, 11)
    for name in ("gunicorn_memory_headroom_bytes", "node_memory_MemAvailable_bytes"):
        host.change(name, lambda _, left: left - more, 11)


@fault("MemoryLow", "critical")
def someone_elses_memory(host: Host) -> None:
    """From 12 to 12:20 another process takes nearly all memory."""
    for name in ("gunicorn_memory_headroom_bytes", "node_memory_MemAvailable_bytes"):
        host.change(name, 0.05 * TOTAL, 12, 12.333)


@fault("SwapThrashing", "warning")
def thrashing(host: Host) -> None:
    """From 12 to 13 pages go out and are read back at once."""
    host.change("node_vmstat_pswpout", 400, 12, 13)
    host.change("node_vmstat_pswpin", 350, 12, 13)


@fault("NoSwap", "info")
def no_swap(host: Host) -> None:
    """There is none, and from 12 on a quarter of memory is left."""
    host.change("node_memory_SwapTotal_bytes", 0)
    host.change("node_memory_SwapFree_bytes", 0)
    for name in ("gunicorn_memory_headroom_bytes", "node_memory_MemAvailable_bytes"):
        host.change(name, 0.25 * TOTAL, 12)


@fault("MemoryPressure", "warning")
def small_cgroup(host: Host) -> None:
    """From 12 to 13 a cgroup at its limit waits for memory that the host has."""
    host.change("node_pressure_memory_waiting_seconds_total", 0.3, 12, 13)


# --- Python inside the workers


@fault("PythonLiveSetGrowing", "warning", hours=_EVENING_BEFORE, app="shop")
def objects_kept(host: Host) -> None:
    """From 2 on workers keep 20,000 blocks more each hour, however often they are collected."""
    quiet(host)
    for name in ("python_heap_live_blocks", "python_heap_allocated_blocks"):
        host.change(name, lambda hour, blocks: blocks + (hour - 2) * 20_000, 2)


@fault("PythonGcPauseHigh", "warning", app="shop")
def large_heap(host: Host) -> None:
    """From 12 to 13 collections take a hundred times as long."""
    host.change("python_gc_pause_seconds_sum", lambda _, rate: rate * 100, 12, 13)


# --- workers' ends


def dies(host: Host, hour: float, cause: str, times: float = 1, *, sigkill: bool = False) -> None:
    """Have workers end by a cause, and be replaced."""
    host.happens("gunicorn_worker_exits_total", hour, times, cause=cause)
    host.happens("gunicorn_worker_boots_total", hour, times)
    if sigkill:
        host.happens("gunicorn_worker_sigkills_total", hour, times)


@fault("WorkerOomKilled", "critical", app="shop", cause="oom_kill")
def oom_kill(host: Host) -> None:
    """At noon the kernel kills one worker."""
    dies(host, 12, "oom_kill", sigkill=True)
    host.happens("node_vmstat_oom_kill", 12)


@fault("WorkerTimeout", "warning", app="shop", cause="timeout")
def silent_worker(host: Host) -> None:
    """At noon a worker is silent for longer than its timeout; the proxy answers 502 to the one it served."""
    dies(host, 12, "timeout", sigkill=True)
    refused(host, 12, 1, "worker_killed")


@fault("WorkerKilledUnexplained", "warning", app="shop", cause="external_kill")
def kill_9(host: Host) -> None:
    """At noon somebody kills one."""
    dies(host, 12, "external_kill", sigkill=True)


@fault("WorkerCrashed", "warning", app="shop", cause="crash_signal")
def segmentation_fault(host: Host) -> None:
    """At noon one crashes."""
    dies(host, 12, "crash_signal")


@fault(
    "WorkerCrashLoop",
    "critical",
    also={
        told("WorkerKilledUnexplained", "warning"): "a kill without a cause says nothing of why it goes on"
    },
    app="shop",
)
def killed_again(host: Host) -> None:
    """From 12 to 12:20 one is killed each minute."""
    for minute in range(20):
        dies(host, 12 + minute / 60, "external_kill", sigkill=True)


@fault("WorkerOomKilled", "critical", app="shop", cause="oom_kill")
def killed_for_memory_again(host: Host) -> None:
    """From 12 to 12:20 the kernel kills one each minute."""
    for minute in range(20):
        dies(host, 12 + minute / 60, "oom_kill", sigkill=True)


@fault("AppBootFailing", "critical", app="shop")
def broken_release(host: Host) -> None:
    """From 12 to 12:10 workers fail to boot; the master gives up each time and is started anew."""
    for minute in range(10):
        dies(host, 12 + minute / 60, "boot_error", 2)


@fault("RecycleStorm", "warning", app="shop")
def no_jitter(host: Host) -> None:
    """All workers are recycled within a second, each 25 minutes."""
    host.change("gunicorn_config", 0, setting="max_requests_jitter")
    storms = [6.2 + 25 / 60 * i for i in range(19)]
    host.change("gunicorn_worker_exits_total", 0, cause="max_requests")
    for storm, following in pairwise((*storms, 24)):
        born = (storm + RUN_UP) * 3600 - 20
        for slot in range(WORKERS):
            host.change(
                "gunicorn_worker_start_time_seconds", born + slot / 4, storm, following, worker=str(slot)
            )
        dies(host, storm, "max_requests", WORKERS)


# --- traffic and saturation


def grows(host: Host, times: float, begin: float, end: float) -> None:
    """Have so many times the requests come, each as quick as ever."""
    for name in sorted({key.name for key in host.counters}):
        if name.startswith(
            ("gunicorn_request", "gunicorn_route", "proxy_request", "python_gc", "gunicorn_worker_cpu")
        ):
            host.change(name, lambda _, rate: rate * times, begin, end)


def full(host: Host, begin: float, end: float, queued: float = 0) -> None:
    """Have all workers busy, and so many more requests wait to be accepted."""
    host.change("gunicorn_workers", WORKERS, begin, end, state="busy")
    host.change("gunicorn_workers", 0, begin, end, state="idle")
    host.change("gunicorn_requests_in_flight", WORKERS, begin, end)
    host.change("gunicorn_requests_queued", queued, begin, end)
    host.change("gunicorn_listen_backlog", queued, begin, end)


@fault("TrafficSpike", "info", app="shop")
def crowd(host: Host) -> None:
    """From 13 to 13:40 four times the usual requests, and the host is up to it."""
    grows(host, 4, 13, 13.667)


@fault("TrafficSpikeSaturating", "critical", app="shop")
def festival(host: Host) -> None:
    """From 13 to 13:40 seven times the requests, all workers busy, twenty in the queue."""
    grows(host, 7, 13, 13.667)
    full(host, 13, 13.667, 20)


@fault("WorkersSaturated", "warning", app="shop")
def slow_partner(host: Host) -> None:
    """From 12 to 13 all workers wait for another service."""
    full(host, 12, 13)


@fault("RequestsQueueing", "warning", app="shop")
def waits_before_workers(host: Host) -> None:
    """From 12 to 13 three requests always wait, though a worker is idle now and then."""
    for name in ("gunicorn_requests_queued", "gunicorn_listen_backlog"):
        host.change(name, 3, 12, 13)


@fault(
    "ListenOverflow",
    "critical",
    also={told("ListenOverflow", "warning"): "the first is told at once, that it goes on after two minutes"},
)
def connections_refused(host: Host) -> None:
    """From 12 to 12:30 the kernel drops two connections a second."""
    for name in ("node_netstat_TcpExt_ListenOverflows", "node_netstat_TcpExt_ListenDrops"):
        host.change(name, 2, 12, 12.5)


@fault("ListenOverflow", "warning")
def burst_of_connections(host: Host) -> None:
    """At noon it drops five."""
    for name in ("node_netstat_TcpExt_ListenOverflows", "node_netstat_TcpExt_ListenDrops"):
        host.happens(name, 12, 5)


@fault("CapacityExceeded", "warning", app="shop")
def near_its_capacity(host: Host) -> None:
    """All day a request takes half a second: four workers serve eight a second, and from 13 on seven come."""
    for name in ("gunicorn_request_duration_seconds_sum", "gunicorn_request_busy_seconds_total"):
        host.change(name, lambda _, rate: rate * 5.5)
    grows(host, 1.9, 13, 14)


# --- latency and errors


def slower(host: Host, begin: float, end: float, share: float) -> None:
    """Have a share of requests take between 5 and 10 seconds."""
    host.change("gunicorn_request_duration_seconds_bucket", lambda _, rate: rate * (1 - share), begin, end)
    for bound in ("10.0", "30.0", "60.0", "+Inf"):
        host.change(
            "gunicorn_request_duration_seconds_bucket",
            lambda _, rate: rate / (1 - share),
            begin,
            end,
            le=bound,
        )
    host.change("gunicorn_request_duration_seconds_sum", lambda _, rate: rate * (1 + 70 * share), begin, end)


@fault("SlowRequests", "warning", app="shop")
def slow_page(host: Host) -> None:
    """From 12 to 13 a tenth of all requests take more than 5 seconds."""
    slower(host, 12, 13, 0.1)


def fails(host: Host, begin: float, end: float, share: float) -> None:
    """Have a share of the requests end with 500."""
    traffic = between(TRAFFIC)
    for name in ("gunicorn_requests_total", "proxy_requests_total"):
        host.change(name, lambda hour, rate: rate + share * traffic[index(hour)], begin, end, status="500")


@fault("ErrorRate", "warning", app="shop")
def broken_page(host: Host) -> None:
    """From 12 to 12:15 a tenth of the requests fail: not yet the budget of days."""
    fails(host, 12, 12.25, 0.1)


@fault(
    "ErrorBudgetBurn",
    "critical",
    also={
        told("ErrorRate", "warning"): "minutes tell it before an hour does",
        told("ErrorBudgetBurn", "warning"): "when it is mended, the half hour it looks back on is not",
    },
    app="shop",
)
def broken_release_that_boots(host: Host) -> None:
    """From 12 to 13 a quarter of the requests fail."""
    fails(host, 12, 13, 0.25)


@fault("ErrorBudgetBurn", "warning", app="shop")
def some_pages_broken(host: Host) -> None:
    """From 8 on one in twenty-five fails: no five minutes look bad."""
    fails(host, 8, 14, 0.042)


@fault("GatewayErrors", "warning", server="shop.example.org")
def proxy_finds_nobody(host: Host) -> None:
    """From 12 to 12:30 the proxy answers 502 to one request in twenty."""
    host.change("proxy_requests_total", 0.21, 12, 12.5, status="502")
    host.change("proxy_gateway_errors_total", 0.21, 12, 12.5, signature="refused")


# --- databases


@fault("DbDiskQueueHigh", "critical", database="shop-db")
def database_disk(host: Host) -> None:
    """The fifth incident: from 12 to 13 the queue stands at 30, workers time out, the proxy answers 502."""
    host.change("cloud_db_disk_queue_depth", 30, 12, 13)
    for minute in range(25, 55, 3):
        dies(host, 12 + minute / 60, "timeout", sigkill=True)
        refused(host, 12 + minute / 60, 2, "worker_killed")
    slower(host, 12.3, 12.9, 0.2)


@fault("DbConnectionsHigh", "warning", server="shop-db:5432")
def connections_leak(host: Host) -> None:
    """From 12 to 13 there are 85 of 100."""
    host.change("pg_stat_activity_count", 84, 12, 13, state="idle")


@fault("DbSlowQueries", "warning")
def missing_index(host: Host) -> None:
    """From 12 to 13 the list takes 2.3 s each time."""
    host.change(
        "pg_stat_statements_seconds_total", lambda _, spent: spent / 0.12 * 2.3, 12, 13, queryid="1002"
    )


# --- the JVM


@fault("JvmOldGenAfterGcHigh", "critical", application="chat")
def jvm_leak(host: Host) -> None:
    """From 12 to 13 collections leave 95 % of the heap in use."""
    host.change("jvm_gc_live_data_size_bytes", 0.95 * HEAP, 12, 13)
    host.change("jvm_memory_used_bytes", 0.96 * HEAP, 12, 13, id="G1 Old Gen")


@fault("JvmGcOverhead", "warning", application="chat")
def jvm_collects(host: Host) -> None:
    """From 12 to 13 a quarter of the time goes into collections."""
    host.change("jvm_gc_overhead", 0.25, 12, 13)
    host.change("jvm_gc_pause_seconds_sum", 0.25, 12, 13)


@fault("JvmLongGcPause", "warning", application="chat")
def jvm_stops(host: Host) -> None:
    """From 12 to 13 there are pauses of 3 seconds."""
    host.change("jvm_gc_pause_seconds_max", 3, 12, 13)


@fault("JvmHeapHigh", "warning", application="chat")
def jvm_heap_full(host: Host) -> None:
    """From 12 to 13 the heap doesn't fall below nine tenths, of which half could still be freed."""
    host.change("jvm_memory_used_bytes", 0.9 * HEAP, 12, 13, id="G1 Old Gen")


@fault("HikariPoolExhausted", "critical", pool="HikariPool-1")
def pool_empty(host: Host) -> None:
    """From 12 to 12:30 all ten connections are taken and twenty requests wait for one."""
    host.change("hikaricp_connections_active", 10, 12, 12.5)
    host.change("hikaricp_connections_pending", 20, 12, 12.5)
    host.change("hikaricp_connections_timeout_total", 0.5, 12, 12.5)
