"""What dashboards/outside.py says of others, held to pages of theirs (their README says from where)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dashboards import outside
from floodmark.metric import Kind
from tests.support.pages import samples

if TYPE_CHECKING:
    from floodmark.metric import Metric

PAGES = Path(__file__).parents[1] / "fixtures" / "pages"
PUBLISHED = [
    sample for page in sorted(PAGES.glob("*.txt")) for sample in samples(page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("row", outside.ALL, ids=lambda row: row.name)
def test_the_row_is_on_a_page_of_theirs_with_its_type_and_no_label_it_doesnt_know(row: Metric) -> None:
    buckets = row.kind is Kind.HISTOGRAM
    found = [sample for sample in PUBLISHED if sample.name == row.name + "_bucket" * buckets]
    # The parts of a summary count, and have rows of their own.
    kinds = {"counter" if sample.kind == "summary" else sample.kind for sample in found}
    assert kinds == {row.kind.value}
    assert set().union(*(sample.label_names() for sample in found)) <= {*row.labels, *["le"] * buckets}
