"""One colour for one thing, on every dashboard.

A series is known by how its legend begins ("timeout shop@web-1"), so that a cause or a memory kind keeps
its colour whatever it is grouped by. Colours are Grafana's own names: they follow the light and dark theme.
"""

from __future__ import annotations

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
# What a point marks: that a worker was replaced. White or black, by the theme: no line has that.
REPLACED = "text"

# Steps of colour for a number: (from, colour), the first from minus infinity. These say how a number
# looks, not when an alert fires: alert thresholds are recorded series, drawn as dashed lines.
Scale = tuple[tuple[float | None, str], ...]
PLAIN: Scale = ((None, "text"),)
NONE_IS_GOOD: Scale = ((None, "green"), (1, "red"))
SATURATION: Scale = ((None, "green"), (0.7, "yellow"), (0.9, "red"))
LOST: Scale = ((None, "green"), (0.01, "yellow"), (0.05, "red"))
TIME_LEFT: Scale = ((None, "red"), (24 * 3600, "yellow"), (7 * 24 * 3600, "green"))
FREE: Scale = ((None, "red"), (0.1, "yellow"), (0.3, "green"))
