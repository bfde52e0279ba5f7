"""The compose project on a real Docker engine: tried, its tables written into docs/compose.md, and judged."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.docker import play
from tests.docker.play import GRAFANA, RIGHTS
from tests.support.live import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.docker.play import Story

PAGE = ROOT / "docs/compose.md"
BEGIN, END = "<!-- Written by: make engine -->", "<!-- End of what make engine wrote -->"
_MIB = 1 << 20


def main() -> int:
    """Play, write, and have the tests judge what was seen."""
    story = play.played()
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{render(story)}{END}{rest.partition(END)[2]}")
    return pytest.main(["--verbose", str(Path(__file__).parent)])


def render(story: Story) -> str:
    """Return the page's part: memory by service, and what each right opens."""
    kernel = platform.release().split("-")[0]
    return f"""
Tried by `make engine` on Linux {kernel} with Docker {story.version}.

### Memory

The most at once within {story.seconds:.0f} s, without the page cache, as `docker stats` counts it. Beside the
demo's shop and its visitors the exporter watched an app of another project and one on the host.

{_table(("service", "MiB", "limit"), _memory(story))}

### Rights

Ten exporters watched the same apps, with these rights: {", ".join(f"{_SHORT[r]} {r}" for r in RIGHTS)}.
Sources are those of `floodmark_source_available`, empty where it names none. A death has the verdict it got.

{_table(("", *map(_short, story.rights)), _rights(story))}
"""


def _memory(story: Story) -> Iterable[tuple[str, ...]]:
    for service, (most, limit) in sorted(story.memory.items()):
        yield service, f"{most / _MIB:.0f}", f"{limit / _MIB:.0f}"
    yield GRAFANA, "not tried", f"{story.grafana_limit / _MIB:.0f}"


def _rights(story: Story) -> Iterable[tuple[str, ...]]:
    seen = story.rights.values()
    marks = {True: "yes", False: "-", None: ""}
    for source in sorted({source for each in seen for source in each.sources}):
        yield (f"`{source}`", *(marks[each.sources.get(source)] for each in seen))
    for death, pid in story.victims.items():
        yield (death, *(", ".join(each.deaths.get(pid, ("missed",))) for each in seen))


_SHORT = {"SYS_PTRACE": "P", "DAC_READ_SEARCH": "R", "SYSLOG": "K"}


def _short(rights: str) -> str:
    """Nothing as none, rights by their letters, other variants by their name."""
    return " ".join(_SHORT.get(right, right) for right in rights.split()) or "none"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))


if __name__ == "__main__":
    sys.exit(main())
