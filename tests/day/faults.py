"""Each alert's own fault: how the healthy day is changed, and what exactly is told of it.

A fault is a host of its own, by the function's name; all run beside each other and the healthy one, so that
a rule which mixes hosts is found out. What is told is what inhibition leaves: a cause, not its symptoms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.day.healthy import APP, MIB

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
    alone: bool = False  # it is nothing of a host's: a run for itself
    without: str = ""  # a rule that is missing


HEALTHY = Fault("healthy", lambda _: None)
FAULTS: list[Fault] = []


def fault(
    alertname: str,
    severity: str,
    *also: tuple[Told, str],
    alone: bool = False,
    without: str = "",
    **labels: str,
) -> Callable[[Callable[[Host], None]], Callable[[Host], None]]:
    """Make a function that changes a host the fault of an alert; `also` is what else is told, and why."""

    def add(change: Callable[[Host], None]) -> Callable[[Host], None]:
        expected = (_told(alertname, severity, **labels), *(each for each, _ in also))
        FAULTS.append(Fault(change.__name__, change, expected, alone, without))
        return change

    return add


def _told(alertname: str, severity: str, **labels: str) -> Told:
    return Told(alertname, severity, tuple(labels.items()))


# --- itself


@fault("TargetDown", "critical", job="floodmark")
def exporter_gone(host: Host) -> None:
    """At half past 12 it is stopped, with its host's series."""
    host.vanish(12.5)


@fault("TargetDown", "critical", alone=True)
def no_target(host: Host) -> None:
    """The list of hosts is empty."""
    host.gauges.clear()
    host.counters.clear()


# --- disks


@fault("DiskQueueHigh", "warning", device="nvme0n1")
def disk_out_of_credits(host: Host) -> None:
    """From 13 to 16 each request takes 60 ms, and 20 wait."""
    disk = {"device": "nvme0n1"}
    for name, growth in {
        "reads_completed_total": 300.0,
        "writes_completed_total": 33.0,
        "read_time_seconds_total": 18.0,
        "write_time_seconds_total": 2.0,
        "io_time_weighted_seconds_total": 20.0,
    }.items():
        host.change(f"node_disk_{name}", growth, 13, 16, **disk)


# --- memory


@fault("RssCreep", "warning", app="shop")
def leak(host: Host) -> None:
    """From midnight on 16 MiB an hour are never given back."""
    host.change("gunicorn_memory_bytes", lambda hour, size: size + hour * 16 * MIB, 0)
    host.change("gunicorn_memory_headroom_bytes", lambda hour, left: left - hour * 16 * MIB, 0)
    host.change("node_memory_MemAvailable_bytes", lambda hour, left: left - hour * 16 * MIB, 0)


# --- workers' ends


@fault("WorkerOomKilled", "critical", app="shop", cause="oom_kill")
def oom_kill(host: Host) -> None:
    """At 11:20 the kernel kills one worker."""
    dies(host, 11.333, "oom_kill", sigkill=True)
    host.happens("node_vmstat_oom_kill", 11.333)


@fault("WorkerTimeout", "warning", app="shop", cause="timeout")
def silent_worker(host: Host) -> None:
    """At 11:20 a worker is silent for longer than its timeout."""
    dies(host, 11.333, "timeout", sigkill=True)


def dies(host: Host, hour: float, cause: str, times: float = 1, *, sigkill: bool = False) -> None:
    """Have workers end by a cause, and be replaced."""
    host.happens("gunicorn_worker_exits_total", hour, times, cause=cause, **APP)
    host.happens("gunicorn_worker_boots_total", hour, times, **APP)
    if sigkill:
        host.happens("gunicorn_worker_sigkills_total", hour, times, **APP)


# --- traffic


@fault("TrafficSpike", "info", app="shop")
def crowd(host: Host) -> None:
    """From 15:00 to 15:40 four times the usual requests, and the host is up to it."""
    grows(host, 4, 15, 15.667)


def grows(host: Host, times: float, begin: float, end: float) -> None:
    """Have so many times the requests come, each as quick as ever."""
    for name in sorted({key.name for key in host.counters}):
        if name.startswith(("gunicorn_request", "gunicorn_route", "proxy_request", "python_gc")):
            host.change(name, lambda _, rate: rate * times, begin, end)
