"""docs/benchmarks.md: a section for each part, each with its budgets, so that one can be measured alone."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_HEAD = """\
# Benchmarks

<!-- Written by: make bench -->

Measured by `make bench`: real gunicorn workers, the real exporter, in turns with what stands beside them, so
that what else the machine does meets all alike. Seconds and bytes are the machine's; what counts are the
shares and ratios.
"""


class Line(NamedTuple):
    """One measured value against its budget, both in ``unit``."""

    what: str
    measured: float
    budget: float
    unit: str
    at_least: bool = False

    @property
    def kept(self) -> bool:
        """Whether the budget is kept."""
        return self.measured >= self.budget if self.at_least else self.measured <= self.budget

    def cells(self) -> tuple[str, ...]:
        """Return its row."""
        bound = "at least" if self.at_least else "at most"
        return (
            self.what,
            f"{self.measured:#.3g} {self.unit}".strip(),
            f"{bound} {self.budget:g} {self.unit}".strip(),
            "yes" if self.kept else "**no**",
        )


class Section(NamedTuple):
    """What a part has found: its budgets, and the text below them."""

    lines: Sequence[Line]
    text: str

    def render(self, heading: str) -> str:
        """Return it as Markdown."""
        machine = (
            f"{os.cpu_count()} CPUs, Linux {platform.release().split('-')[0]}, "
            f"Python {platform.python_version()}."
        )
        budgets = table(("what", "measured", "budget", "kept"), (line.cells() for line in self.lines))
        return f"## {heading}\n\n{machine}\n\n{budgets}\n{self.text}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = (head, ["---"] * len(head), *rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def replace(page: str, headings: Sequence[str], new: Mapping[str, str]) -> str:
    """Return a page with new sections by heading, and its old ones for the other headings, in their order."""
    old = {part.partition("\n")[0]: f"## {part.rstrip()}\n" for part in page.split("\n## ")[1:]}
    sections = {**old, **new}
    return "\n".join((_HEAD, *(sections[heading] for heading in headings if heading in sections)))
