"""Queries of panels over real PromQL: what is not known is not shown as 0, what is 0 is shown."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from deploy.demo import servers

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = sorted((Path(__file__).parents[2] / "dashboards" / "json").glob("*.json"))
LABELS = 'job="floodmark",instance="web-1"'
APP = f'{LABELS},app="shop"'
DISK = f'{LABELS},device="sda"'
THRESHOLDS = {
    "floodmark:threshold:disk_queue_depth": "1+0x60",
    "floodmark:threshold:disk_await_seconds": "0.01+0x60",
}
# A disk that answers 100 reads a second in 1 ms each, with 0.1 of them in its queue on average.
HEALTHY_DISK = {
    f"node_disk_reads_completed_total{{{DISK}}}": "0+1500x60",
    f"node_disk_writes_completed_total{{{DISK}}}": "0+0x60",
    f"node_disk_read_time_seconds_total{{{DISK}}}": "0+1.5x60",
    f"node_disk_write_time_seconds_total{{{DISK}}}": "0+0x60",
    f"node_disk_io_time_weighted_seconds_total{{{DISK}}}": "0+1.5x60",
}


def _queries() -> Iterator[tuple[str, str, str, str]]:
    """Title, legend, expression and shortest step of every query; of an annotation its two names.

    Those of the overview come first, for others may call one so too.
    """
    for file in sorted(FILES, key=lambda file: file.stem != "floodmark-overview"):
        dashboard = json.loads(file.read_text(encoding="utf-8"))
        for panel in dashboard["panels"]:
            for each in (panel, *panel.get("panels", ())):
                for target in each.get("targets", ()):
                    yield each["title"], target["legendFormat"], target["expr"], each.get("interval", "15s")
        for each in dashboard["annotations"]["list"][:-1]:
            yield each["name"], each["titleFormat"], each["target"]["expr"], each["target"]["interval"]


def _expr(title: str, legend: str) -> str:
    """Expression of a query with its variables at All, as Grafana has it where each 15 s is scraped."""
    for found, named, expr, step in _queries():
        if (found, named) == (title, legend):
            # A step and a scrape, but four scrapes at least.
            filled = expr.replace("$__rate_interval", "75s" if step == "1m" else "1m")
            filled = filled.replace("$__interval", step)
            filled = re.sub(r"\bNaN\b", f"{NOT_KNOWN:g}", filled)
            return re.sub(r"\$(?:job|instance|app)\b", ".+", filled)
    raise LookupError(title, legend)


def _exits(cause: str, values: str) -> dict[str, str]:
    return {f'gunicorn_worker_exits_total{{{APP},cause="{cause}"}}': values}


def _workers(**states: int) -> dict[str, str]:
    known = {
        f'gunicorn_workers{{{APP},state="{state}"}}': f"{number}+0x60" for state, number in states.items()
    }
    return known | {
        f"gunicorn_slots{{{APP}}}": "4+0x60",
        f"gunicorn_request_duration_seconds_sum{{{APP}}}": "0+45x60",  # 3 seconds of work each second
    }


def _arrivals(limit: str, *, measured: bool) -> dict[str, str]:
    """An app whose owner said what it can serve, or not (Inf), and of which a day has told, or not."""
    return {
        "floodmark:threshold:capacity_ratio": "0.8+0x60",
        "floodmark:threshold:capacity_requests_rate": f"{limit}x60",
        f"app:gunicorn_requests:arrivals1m{{{APP}}}": "7+0x60",
    } | ({f"app:gunicorn_capacity:rate1d{{{APP}}}": "20+0x60"} if measured else {})


def _durations(each: int) -> dict[str, str]:
    """A histogram that at each scrape grows ``each`` times by requests of 0.1, 0.5, 0.5 and 10 seconds."""
    name = "gunicorn_request_duration_seconds"
    up_to = {"0.1": 1, "0.5": 3, "2.5": 3, "+Inf": 4}
    return {
        **{f'{name}_bucket{{{APP},le="{bound}"}}': f"4+{each * n}x60" for bound, n in up_to.items()},
        f"{name}_count{{{APP}}}": f"4+{each * 4}x60",
    }


def _slot(worker: int, start: str, size: str) -> dict[str, str]:
    return {
        f'gunicorn_worker_start_time_seconds{{{APP},worker="{worker}"}}': start,
        f'gunicorn_worker_resident_memory_bytes{{{APP},worker="{worker}"}}': size,
    }


def _told(cause: str, values: str, doing: str = "x") -> dict[str, str]:
    labels = f'{APP},cause="{cause}",confidence="confirmed",doing="{doing}"'
    return {f"gunicorn_last_death_info{{{labels}}}": values}


def _row(cause: str, doing: str = "x") -> str:
    """Labels of a row of the table of deaths; without doing, nothing is told but the cause."""
    return f'{{app="shop@web-1",cause="{cause}",confidence="{"confirmed" if doing else ""}",doing="{doing}"}}'


# For NaN: promtool finds none that equals another.
NOT_KNOWN = -1.0

# 1 MB and 8 MB; after 5 minutes the second is a new worker's 2 MB.
SIZES = _slot(0, start="1+0x60", size="1000000+0x60") | _slot(1, "1x20 300x40", "8000000x20 2000000x40")


DEATHS = ("Deaths in 24 h, by cause", "{{cause}}")
FIRING = ("Alerts firing", "firing")
WORKERS = ("Which tier is the bottleneck?", "Workers")
DISKS = ("Which tier is the bottleneck?", "Disk")
FULL_IN = ("Memory left", "full in (6 h pace)")
LAST_DEATH = ("Last death of each app, within 15 min", "{{cause}} {{confidence}} {{app}} {{doing}}")
ONE_BY_ONE = ("Deaths, one by one", "__auto")
DEPLOYS = ("Deploys", "deploy")
BUDGET = ("Memory budget: do all workers fit?", "{{app}}@{{instance}}")
TOO_MANY = ("Arrivals against capacity", "alert threshold {{app}}@{{instance}}")
REPLACED = ("Memory of each worker", "replaced {{worker}} {{app}}@{{instance}}")
GROWS = "GC runs: does what it leaves grow?"
PYTHON_GC = (GROWS, "GC ran {{app}}@{{instance}}")
JVM_GC = (GROWS, "GC ran {{application}}@{{instance}}")
MODERATE = ("Share of requests by duration", "0.1 to 0.5 s")
OVER = ("Share of requests by duration", "over 2.5 s")

# Of a query, the series it asks, and what it says after 15 minutes or at each of several moments.
Samples = list[tuple[str, float]]
CASES: dict[str, tuple[tuple[str, str], dict[str, str], Samples | dict[str, Samples]]] = {
    "no deaths are called none": (DEATHS, _exits("timeout", "0+0x60"), [('{cause="none"}', 0.0)]),
    "recycles are no deaths": (
        DEATHS,
        _exits("timeout", "0+0x60") | _exits("max_requests", "0+1x60"),
        [('{cause="none"}', 0.0)],
    ),
    "each death is counted once": (
        DEATHS,
        _exits("timeout", "0x30 1x10 2x19") | _exits("oom_kill", "0x50 1x9"),
        [('{cause="timeout"}', 2.0), ('{cause="oom_kill"}', 1.0)],
    ),
    "no exporter has no deaths, not none": (DEATHS, {}, []),
    "nothing fires while rules are evaluated is 0": (FIRING, THRESHOLDS, [("{}", 0.0)]),
    "without rules nobody knows what fires": (FIRING, {}, []),
    "alerts about a host or a vanished target count": (
        FIRING,
        THRESHOLDS
        | {
            f'ALERTS{{{DISK},alertname="DiskQueueHigh",alertstate="firing"}}': "1+0x60",
            'ALERTS{job="floodmark",alertname="TargetDown",alertstate="firing"}': "1+0x60",
            f'ALERTS{{{APP},alertname="RssCreep",alertstate="pending"}}': "1+0x60",
        },
        [("{}", 2.0)],
    ),
    "busy workers are seen": (WORKERS, _workers(busy=1, idle=3, unknown=0), [("{}", 0.25)]),
    "unknown workers are not idle: their work is measured": (
        WORKERS,
        _workers(busy=0, idle=0, unknown=4),
        [("{}", 0.75)],
    ),
    "a healthy disk is far from its alert": (DISKS, THRESHOLDS | HEALTHY_DISK, [("{}", 0.1)]),
    "a deep queue that answers fast is no bottleneck": (
        DISKS,
        THRESHOLDS
        | HEALTHY_DISK
        | {f"node_disk_io_time_weighted_seconds_total{{{DISK}}}": "0+300x60"},  # 20 in the queue
        [("{}", 0.1)],
    ),
    "a disk at rest is at 0": (
        DISKS,
        THRESHOLDS | dict.fromkeys(HEALTHY_DISK, "7+0x60"),
        [("{}", 0.0)],
    ),
    "the last death has its cause, how sure that is, and what the worker did": (
        LAST_DEATH,
        {f"gunicorn_up{{{APP}}}": "1+0x60"}
        | _exits("timeout", "0x30 1x10 2x19")
        | _exits("oom_kill", "0x60")
        | {f'gunicorn_last_death_info{{{APP},cause="timeout",confidence="probable",doing="x"}}': "_x30 1x30"},
        [(f'{{{APP},cause="timeout",confidence="probable",doing="x"}}', 2.0)],
    ),
    "no death in a quarter of an hour is called none": (
        LAST_DEATH,
        {f"gunicorn_up{{{APP}}}": "1+0x60"} | _exits("timeout", "1x60"),
        [('{cause="none"}', 0.0)],
    ),
    "no exporter has no last death, not none": (LAST_DEATH, {}, []),
    "a death is one row, at its own moment, with the largest worker before it": (
        ONE_BY_ONE,
        SIZES | _exits("timeout", "3x20 4x40") | _told("timeout", "_x21 1x40") | _exits("oom_kill", "0x60"),
        {"5m": [], "5m15s": [(_row("timeout"), 8e6)], "5m30s": [], "15m": []},
    ),
    "two deaths of a cause at one moment are two rows, and only the last is told": (
        ONE_BY_ONE,
        SIZES | _exits("timeout", "3x20 5x40") | _told("timeout", "_x21 1x40"),
        {
            "5m15s": [
                (_row("timeout"), 8e6),
                ('{app="shop@web-1",cause="timeout",doing="not known (2)"}', 8e6),
            ],
            "5m30s": [],
        },
    ),
    "two deaths of two causes at one moment are two rows": (
        ONE_BY_ONE,
        SIZES
        | _exits("timeout", "3x20 4x40")
        | _exits("oom_kill", "0x20 1x40")
        | _told("oom_kill", "_x21 1x40"),
        {
            "5m15s": [(_row("oom_kill"), 8e6), ('{app="shop@web-1",cause="timeout"}', 8e6)],
            "5m30s": [],
        },
    ),
    "the same death again is a row again, though what tells of it didn't change": (
        ONE_BY_ONE,
        SIZES | _exits("timeout", "3x20 4x11 5x29") | _told("timeout", "_x21 1x40"),
        {
            "5m15s": [(_row("timeout"), 8e6)],
            "8m": [],
            "8m15s": [(_row("timeout"), 2e6)],
            "8m30s": [],
        },
    ),
    "deaths found after a gap are rows, and how large they were isn't invented": (
        ONE_BY_ONE,
        {f"gunicorn_up{{{APP}}}": "1x10 stale _x28 1x20"}
        | _exits("timeout", "3x10 stale _x28 4x20")
        | _told("timeout", "_x40 1x20"),
        {"9m45s": [], "10m": [(_row("timeout"), NOT_KNOWN)], "10m15s": []},
    ),
    "recycles, and counters that begin or begin anew, are no rows": (
        ONE_BY_ONE,
        SIZES
        | _exits("max_requests", "3x20 4x40")
        | _exits("timeout", "3x20 0x40")
        | _exits("oom_kill", "_x21 2x40"),
        {"5m15s": [], "5m30s": []},
    ),
    "deaths on two hosts are two rows": (
        ONE_BY_ONE,
        SIZES
        | _exits("timeout", "3x20 4x40")
        | {name.replace("web-1", "web-2"): values for name, values in SIZES.items()}
        | {name.replace("web-1", "web-2"): v for name, v in _exits("timeout", "3x20 4x40").items()},
        {
            "5m15s": [
                ('{app="shop@web-1",cause="timeout"}', 8e6),
                ('{app="shop@web-2",cause="timeout"}', 8e6),
            ]
        },
    ),
    "a reload is a deploy, in one minute of all": (
        DEPLOYS,
        _exits("reload", "4x20 8x40") | {f"gunicorn_reloads_total{{{APP}}}": "1x20 2x40"},
        {"5m": [], "6m": [(f"{{{APP}}}", 4.0)], "7m": []},
    ),
    "a restart is a deploy though no log tells it, and though floodmark was started anew with it": (
        DEPLOYS,
        _exits("shutdown", "4x17 stale _ _ 8x40"),
        {"5m": [], "6m": [(f"{{{APP}}}", 4.0)], "7m": []},
    ),
    "recycles, deaths and the first sight of an app are no deploys": (
        DEPLOYS,
        _exits("max_requests", "4x20 8x40")
        | _exits("timeout", "4x20 8x40")
        | _exits("shutdown", "_x21 8x40")
        | {f"gunicorn_reloads_total{{{APP}}}": "_x21 2x40"},
        {"5m": [], "6m": [], "7m": []},
    ),
    "the budget is full where workers would take all that is left": (
        BUDGET,
        {
            f"app:gunicorn_memory_bytes:ungrown_shared{{{APP}}}": "600+0x60",
            f"gunicorn_memory_headroom_bytes{{{APP}}}": "600+0x60",
            f'gunicorn_memory_bytes{{{APP},kind="proportional"}}': "400+0x60",
        },
        [(f"{{{APP}}}", 1.0)],
    ),
    "no growth is not yet a time left in the first hour": (
        FULL_IN,
        {
            f"gunicorn_memory_headroom_bytes{{{APP}}}": "1000000+0x60",
            f"app:gunicorn_memory_bytes:floor1h{{{APP}}}": "100+0x60",
        },
        [],
    ),
    "what is too much is measured where nobody has set it": (
        TOO_MANY,
        _arrivals("Inf+0", measured=True),
        [(f"{{{APP}}}", 16.0)],
    ),
    "what the owner set is what is too much": (
        TOO_MANY,
        _arrivals("30+0", measured=True),
        [(f"{{{APP}}}", 30.0)],
    ),
    "it needs no measure": (TOO_MANY, _arrivals("30+0", measured=False), [(f"{{{APP}}}", 30.0)]),
    "neither set nor measured is nothing, not infinity": (TOO_MANY, _arrivals("Inf+0", measured=False), []),
    "a replaced worker is marked once, at its own memory": (
        REPLACED,
        _slot(0, start="100x20 400x30", size="8x20 2x30") | _slot(1, start="100+0x60", size="5+0x60"),
        {"5m": [], "5m15s": [(f'{{{APP},worker="0"}}', 2.0)], "5m30s": []},
    ),
    "a slot that stood empty for a while was replaced too": (
        REPLACED,
        _slot(0, start="100x17 stale _ _ 350x30", size="8x17 stale _ _ 2x30"),
        {"5m": [], "5m15s": [(f'{{{APP},worker="0"}}', 2.0)], "5m30s": []},
    ),
    "an app's first workers replace none, and a clock that is set replaces none": (
        REPLACED,
        _slot(0, start="_x18 100x2 100.99x30", size="_x18 8x40"),
        {"4m45s": [], "5m15s": []},
    ),
    "a full collection of any worker is marked once, on what it left": (
        PYTHON_GC,
        {
            f"app:python_heap_live_blocks:max{{{APP}}}": "500x20 600x40",
            f'python_gc_collections_total{{{APP},worker="0",generation="2"}}': "2x20 3x40",
            f'python_gc_collections_total{{{APP},worker="1",generation="2"}}': "7x30 0x30",
            f'python_gc_collections_total{{{APP},worker="1",generation="0"}}': "0+9x60",
        },
        {"5m": [], "5m15s": [(f"app:python_heap_live_blocks:max{{{APP}}}", 600.0)], "5m30s": [], "7m45s": []},
    ),
    "a JVM's first collection of the old generation is marked, and the next, but none before": (
        JVM_GC,
        {f'jvm_gc_live_data_size_bytes{{{LABELS},application="chat"}}': "0x20 500x20 600x20"},
        {
            "1m": [],
            "5m15s": [(f'{{{LABELS},application="chat"}}', 500.0)],
            "5m30s": [],
            "10m30s": [(f'{{{LABELS},application="chat"}}', 600.0)],
        },
    ),
    "a request is in one class of duration": (
        MODERATE,
        _durations(15),
        [("{}", 0.5)],
    ),
    "the slowest class is all that no bucket before it holds": (
        OVER,
        _durations(15),
        [("{}", 0.25)],
    ),
    "without requests none has a duration": (
        OVER,
        _durations(0),
        [],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_query_says_no_more_and_no_less_than_is_known(case: str, tmp_path: Path) -> None:
    (title, legend), series, expected = CASES[case]
    moments = expected if isinstance(expected, dict) else {"15m": expected}
    test = {
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {
                        "expr": _expr(title, legend),
                        "eval_time": moment,
                        "exp_samples": [{"labels": labels, "value": value} for labels, value in samples],
                    }
                    for moment, samples in moments.items()
                ],
            }
        ],
    }
    file = tmp_path / "honest.test.yml"
    file.write_text(yaml.safe_dump(test, width=10_000), encoding="utf-8")
    done = subprocess.run(
        [servers.find("promtool"), "test", "rules", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
