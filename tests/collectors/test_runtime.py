"""The runtime collector: what is unknown has no series, and a failed reading is this collector's alone."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from floodmark.agent.rows import PAUSE_BOUNDS
from floodmark.agent.slab import VALUES
from floodmark.collectors import runtime
from floodmark.gunicorn.agents import AppAgents, Told
from floodmark.metric import Distribution, Sample
from floodmark.sources.procfs.process import Identity


def collect(told: Told, rows: dict[str, list[float]], failure: str | None = None) -> list[Sample]:
    apps = {"shop": AppAgents(rows, 0, {Identity(1, 1): told}, speaks=True)}
    agents = SimpleNamespace(told=lambda *_: apps, failure=failure)
    facts = SimpleNamespace(watch=SimpleNamespace(state=list), agents=agents)
    return list(runtime.collect(cast("Any", facts)))


def test_collections_are_each_workers_and_pauses_the_apps() -> None:
    pause = [0.0] * VALUES
    pause[2], pause[VALUES - 1] = 4, 0.003
    freed = [4.0, 100.0, 1.0] + [0.0] * (VALUES - 3)
    told = Told(3, 0, 0, None, 5000, 4000, 1 << 20, (9, 0, 4))
    found = {
        (sample.metric.name, *sample.labels): sample.value
        for sample in collect(told, {"pause 2": pause, "gc 2": freed})
    }
    counts = (0, 0, 4, *(0 for _ in range(len(PAUSE_BOUNDS) - 2)))
    assert found == {
        ("python_gc_collections_total", "shop", "3", "0"): 9,
        ("python_gc_collections_total", "shop", "3", "1"): 0,
        ("python_gc_collections_total", "shop", "3", "2"): 4,
        ("python_gc_objects_collected_total", "shop", "2"): 100,
        ("python_gc_objects_uncollectable_total", "shop", "2"): 1,
        ("python_gc_pause_seconds", "shop", "2"): Distribution(PAUSE_BOUNDS, counts, 0.003),
        ("python_heap_allocated_blocks", "shop", "3"): 5000,
        ("python_heap_live_blocks", "shop", "3"): 4000,
        ("python_heap_live_bytes", "shop", "3"): 1 << 20,
    }


def test_what_is_unknown_has_no_series() -> None:
    assert collect(Told(0, 0, 0, None, None, None, None, ()), {}) == []


def test_a_reading_that_failed_as_a_whole_is_this_collectors_failure() -> None:
    with pytest.raises(RuntimeError, match="Too many open files"):
        collect(Told(0, 0, 0, None, None, None, None, ()), {}, "OSError: Too many open files")
