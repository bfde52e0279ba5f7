"""Build dashboards/json/<uid>.json from the Python, or say which file differs from it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import overview, panels, traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DASHBOARDS: tuple[Callable[[], panels.Json], ...] = (overview.build, traffic.build)

FOLDER = Path(__file__).parent / "json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 all is built or equal, 1 a file differs, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m dashboards", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file differs")
    check = parser.parse_args(arguments).check

    wanted = {f"{each['uid']}.json": panels.render(each) for each in (build() for build in DASHBOARDS)}
    found = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    differing = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if check:
        for name in differing:
            print(f"{FOLDER / name} differs from its Python. Type: make dashboards", file=sys.stderr)
        return 1 if differing else 0
    FOLDER.mkdir(exist_ok=True)
    for name in differing:
        if name in wanted:
            (FOLDER / name).write_text(wanted[name], encoding="utf-8")
        else:
            (FOLDER / name).unlink()  # its Python is gone
        print(f"{'wrote' if name in wanted else 'removed'} {FOLDER / name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
