"""What floodmark costs, beside its peers and against its budgets: prints it and writes docs/benchmarks.md.

Each part is a file beside this one and a section of the page. All of it takes about a quarter of an hour, two
cores and a quiet machine. Exits with 1 where a budget is broken.
"""

from __future__ import annotations

import argparse
import sys

from tests.bench import exporter, multiproc, page, recycling, requests, rules, throughput
from tests.bench.setups import say
from tests.support.live import ROOT

PAGE = ROOT / "docs/benchmarks.md"
PARTS = {
    "requests": requests,
    "throughput": throughput,
    "recycling": recycling,
    "multiprocess": multiproc,
    "exporter": exporter,
    "rules": rules,
}


def main() -> int:
    """Measure, print, write; return 1 where a budget is broken."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", choices=PARTS, help="this part and its section alone")
    only = parser.parse_args().only
    headings = [part.HEADING for part in PARTS.values()]
    kept = True
    for name, part in PARTS.items():
        if only in (None, name):
            section = part.measure()
            text = section.render(part.HEADING)
            sys.stdout.write(f"{text}\n")
            # At once: what was measured is not lost with what comes after it.
            PAGE.write_text(page.replace(PAGE.read_text(), headings, {part.HEADING: text}))
            for line in section.lines:
                if not line.kept:
                    say(f"over budget: {line.what}")
                    kept = False
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
