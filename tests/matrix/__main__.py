"""The truth against the verdict: real workers of five gunicorns and four worker classes, really killed.

Prints a confusion matrix for each view and writes them into docs/attribution.md. Takes about five minutes;
needs root and memory cgroups. Returns 1 where a verdict called confirmed is wrong, or with all sources any.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import sys
from collections import Counter
from typing import TYPE_CHECKING

from floodmark.gunicorn.verdict import CAUSES
from tests.matrix import versions
from tests.matrix.deaths import CLASSES, DEATHS
from tests.matrix.play import MISSED, VIEWS, Cell, Judged, cells, play, wrong
from tests.support.live import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = ROOT / "docs/attribution.md"
BEGIN, END = "<!-- Written by: make matrix -->", "<!-- End of what make matrix wrote -->"


def main() -> int:
    """Play, print, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument("--version", choices=versions.VERSIONS, help="only this gunicorn; writes nothing")
    parser.add_argument("--worker-class", choices=CLASSES, help="only this class; writes nothing")
    parser.add_argument("--death", choices=DEATHS, help="only this death; writes nothing")
    only = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("it needs root: memory cgroups to be killed in, and rights to take away")
    limits = Cell(only.version, only.worker_class, only.death)
    wanted = [
        cell
        for cell in cells()
        if all(limit in (None, value) for limit, value in zip(limits, cell, strict=True))
    ]
    judged: list[Judged] = []
    for batch, group in itertools.groupby(wanted, lambda cell: cell[:2]):
        sys.stderr.write(f"gunicorn {' '.join(batch)}\n")
        found = play(list(group))
        judged += found
        for each in found:
            if not each.right:
                sys.stderr.write(f"  {each}\n")
    text = render(judged)
    sys.stdout.write(text)
    if not any(limits):
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{text}{END}{rest.partition(END)[2]}")
    return int(bool(wrong(judged)))


def render(judged: Sequence[Judged]) -> str:
    """Return the page's part: what was played, and a matrix for each view."""
    played = len({each.cell for each in judged})
    machine = f"Linux {platform.release().split('-')[0]}, Python {platform.python_version()}"
    parts = [
        f"""
Measured by `make matrix` on {machine}: {played} gunicorns, each with one way to die.
Versions {", ".join(versions.VERSIONS)}; classes {", ".join(CLASSES)} (before 25 by uvicorn's worker).
A cell counts verdicts: **c**onfirmed, **p**robable, p**o**ssible.
"""
    ]
    for view in VIEWS:
        mine = [each for each in judged if each.view == view]
        right = sum(each.right for each in mine)
        parts.append(f"\n### Seen by: {view}\n\n{right} of {len(mine)} right.\n\n{_matrix(mine)}")
    return "".join(parts) + "\n"


def _matrix(judged: Sequence[Judged]) -> str:
    verdicts = [name for name in (*CAUSES, MISSED) if any(each.verdict == name for each in judged)]
    counts = Counter((each.truth, each.verdict, each.confidence) for each in judged)
    lines = [f"| truth | {' | '.join(verdicts)} |", f"| --- |{' ---: |' * len(verdicts)}"]
    for truth in dict.fromkeys(each.truth for each in judged):
        row = (_cell(counts, truth, verdict) for verdict in verdicts)
        lines.append(f"| {truth} | {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def _cell(counts: Counter[tuple[str, str, str]], truth: str, verdict: str) -> str:
    letters = {"confirmed": " c", "probable": " p", "possible": " o", "": ""}
    return ", ".join(
        f"{counts[truth, verdict, confidence]}{letter}"
        for confidence, letter in letters.items()
        if counts[truth, verdict, confidence]
    )


if __name__ == "__main__":
    sys.exit(main())
