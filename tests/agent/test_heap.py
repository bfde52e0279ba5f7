"""What is told of the garbage collector is what it did."""

from __future__ import annotations

import gc
import math
from typing import TYPE_CHECKING

import pytest

from floodmark.agent import heap, slab
from floodmark.agent.rows import COLLECTED, COLLECTIONS, SUM
from floodmark.agent.slab import Cell
from tests.support import slabs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[slab.Slab]:
    own = slabs.mine(tmp_path)
    gc.collect()
    gc.disable()
    callback = heap.watch(own)
    yield own
    gc.callbacks.remove(callback)
    gc.enable()


class _Node:
    def __init__(self) -> None:
        self.me = self


def test_each_collection_counts_in_its_generation_with_its_pause(watched: slab.Slab) -> None:
    for generation in (0, 0, 1, 2):
        gc.collect(generation)
    rows = slab.read(watched.path).rows()
    assert [rows[f"gc {generation}"][COLLECTIONS] for generation in range(3)] == [2, 1, 1]
    assert [sum(rows[f"pause {generation}"][:SUM]) for generation in range(3)] == [2, 1, 1]
    assert rows["pause 2"][SUM] > 0


def test_it_tells_what_was_collected(watched: slab.Slab) -> None:
    for _ in range(100):
        _Node()
    gc.collect()
    assert slab.read(watched.path).rows()["gc 2"][COLLECTED] >= 100


def test_the_live_set_is_told_after_a_full_collection_alone(watched: slab.Slab) -> None:
    gc.collect(1)
    assert math.isnan(slab.read(watched.path).header()[Cell.LIVE_BLOCKS])
    gc.collect()
    before = slab.read(watched.path).header()
    kept = [_Node() for _ in range(10_000)]
    garbage = [_Node() for _ in range(50_000)]
    del garbage
    gc.collect()
    grown = slab.read(watched.path).header()[Cell.LIVE_BLOCKS] - before[Cell.LIVE_BLOCKS]
    assert len(kept) <= grown < 4 * len(kept)
    assert before[Cell.LIVE_BYTES] > 1 << 20
