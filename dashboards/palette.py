"""One colour for one thing, on every dashboard.

A series is known by how its legend begins ("timeout shop@web-1"), so that a cause or a memory kind keeps
its colour whatever it is grouped by. Colours are Grafana's own names: they follow the light and dark theme.
"""

from __future__ import annotations

from . import query

# Ends that gunicorn was asked for are blue; the rest are deaths, and none of them is.
CAUSES = {
    "oom_kill": "red",
    "timeout": "orange",
    "external_kill": "purple",
    "crash_signal": "dark-red",
    "boot_error": "dark-orange",
    "shutdown_kill": "light-orange",
    "nonzero_exit": "yellow",
    "exit_unrequested": "light-yellow",
    "sigkill_unknown": "light-purple",
    "unknown": "#8e8e8e",
    "max_requests": "blue",
    "reload": "light-blue",
    "scale_down": "super-light-blue",
    "shutdown": "dark-blue",
    "none": "green",
}
CPU_MODES = {
    "user": "blue",
    "nice": "light-blue",
    "system": "dark-blue",
    "irq": "light-purple",
    "softirq": "purple",
    "iowait": "orange",
    "steal": "red",
}
MEMORY_KINDS = {
    "resident": "blue",
    "proportional": "light-blue",
    "anonymous": "purple",
    "swap": "orange",
}
WORKER_STATES = {"busy": "orange", "idle": "green", "unknown": "#8e8e8e"}
# By first digit, as legends begin.
STATUSES = {"2": "green", "3": "blue", "4": "yellow", "5": "red"}
QUANTILES = {"p50": "light-blue", "p95": "orange", "p99": "red"}
TRAFFIC = {"now": "blue", "yesterday": "#8e8e8e"}
RESOURCES = {"cpu": "blue", "memory": "purple", "disk": "orange", "in": "blue", "out": "orange"}

# What a dashed line stands for: the alert's threshold, or a limit that can't be passed.
THRESHOLD = "orange"
LIMIT = "red"
# Upright lines. Alerts are the many in an incident, and must not hide what they are about.
ALERT = "#8e8e8e"
DEATH = "red"
DEPLOY = "blue"
# A point on a line: there its worker was replaced. White or black, by the theme: no line is.
MARK = "text"
# What a full collection leaves, and the points where one ran: under load they cover the whole line.
LEFT_AFTER_GC = "purple"

# Steps of colour for a number: (from, colour), the first from minus infinity. Red begins where an alert does,
# by its threshold. Yellow begins where something else is told or looked at before, or else near it: at this
# share of the threshold. What no alert is about has no colour.
Scale = tuple[tuple[float | None, str], ...]
NEAR = 0.8


def rises(alert: str, warning: str = "") -> Scale:
    """Bad above the threshold ``alert``; yellow from the threshold ``warning`` on, else near the alert's."""
    red = query.threshold_value(alert)
    return _rising(red, query.threshold_value(warning) if warning else NEAR * red)


def falls(alert: str, warning: str = "", near: float = NEAR) -> Scale:
    """Bad below the threshold ``alert``; green from the threshold ``warning`` on, else far from it."""
    red = query.threshold_value(alert)
    yellow = query.threshold_value(warning) if warning else red / near
    return ((None, "red"), (red, "yellow"), (yellow, "green"))


def used(alert: str, warning: str) -> Scale:
    """Of a share that is used up, where the thresholds are of the share that is left."""
    return _rising(1 - query.threshold_value(alert), 1 - query.threshold_value(warning))


def _rising(red: float, yellow: float) -> Scale:
    # 1 - 0.1 is 0.9 to a person.
    return ((None, "green"), (round(yellow, 9), "yellow"), (round(red, 9), "red"))


PLAIN: Scale = ((None, "text"),)
NONE_IS_GOOD: Scale = ((None, "green"), (1, "red"))
# Of a number that is divided by its alert's threshold.
OF_ALERT = _rising(1, NEAR)
BUSY = rises("workers_busy_ratio")
CPU = rises("cpu_busy_ratio")
# An app's memory is looked at from the second on (MemoryFullSoon), where it is filling up.
MEMORY = used("memory_available_ratio", "memory_headroom_ratio")
SPACE = used("filesystem_full_ratio", "filesystem_avail_ratio")
SPACE_LEFT = falls("filesystem_full_ratio", "filesystem_avail_ratio")
# A week ahead there is time to find the leak.
TIME_LEFT = falls("memory_full_ahead_seconds", near=1 / 7)
# Above its budget an app has fewer errors left each day.
ERRORS = rises("error_ratio", "error_budget_ratio")
SLOW = rises("slow_request_seconds")
