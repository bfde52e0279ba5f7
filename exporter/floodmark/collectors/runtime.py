"""Python's heap and garbage collector inside the workers, as their agents tell them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from floodmark import catalogue
from floodmark.agent.rows import COLLECTED, GENERATIONS, PAUSE_BOUNDS, SUM, UNCOLLECTABLE
from floodmark.metric import Distribution

if TYPE_CHECKING:
    from collections.abc import Iterator

    from floodmark.agent.slab import Rows
    from floodmark.facts import Facts
    from floodmark.gunicorn.agents import Told
    from floodmark.metric import Sample


def collect(facts: Facts) -> Iterator[Sample]:
    """Yield heap and collections of each live worker, and what each app's collections took and freed."""
    told = facts.agents.told("runtime", facts.watch.state())
    if facts.agents.failure:
        raise RuntimeError(f"reading what agents wrote failed: {facts.agents.failure}")
    for app, agents in told.items():
        yield from _collections(app, agents.rows)
        for worker in agents.workers.values():
            yield from _worker(app, worker)


def _collections(app: str, rows: Rows) -> Iterator[Sample]:
    for number in range(GENERATIONS):
        labels = {"app": app, "generation": str(number)}
        if row := rows.get(f"gc {number}"):
            yield catalogue.GC_COLLECTED(row[COLLECTED], **labels)
            yield catalogue.GC_UNCOLLECTABLE(row[UNCOLLECTABLE], **labels)
        if row := rows.get(f"pause {number}"):
            counts = tuple(map(int, row[: len(PAUSE_BOUNDS) + 1]))
            yield catalogue.GC_PAUSE(Distribution(PAUSE_BOUNDS, counts, row[SUM]), **labels)


def _worker(app: str, worker: Told) -> Iterator[Sample]:
    labels = {"app": app, "worker": str(worker.slot)}
    for number, count in enumerate(worker.collections):
        yield catalogue.GC_COLLECTIONS(count, generation=str(number), **labels)
    gauges = (
        (catalogue.HEAP_BLOCKS, worker.blocks),
        (catalogue.HEAP_LIVE_BLOCKS, worker.live_blocks),
        (catalogue.HEAP_LIVE_BYTES, worker.live_bytes),
    )
    for metric, value in gauges:
        if value is not None:
            yield metric(value, **labels)
