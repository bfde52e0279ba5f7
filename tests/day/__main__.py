"""24 hours of a healthy host, and of each fault: which alerts are told. Returns 1 where others should be."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from deploy.demo import servers
from tests.day import play
from tests.day.faults import FAULTS, HEALTHY, HEALTHY_SUNDAY

if TYPE_CHECKING:
    from tests.day.inhibition import Alert


def main() -> int:
    """Play, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.day", description=__doc__)
    parser.add_argument("fault", nargs="*", help="only these, beside the healthy host")
    parser.add_argument(
        "--whole", action="store_true", help="the whole day for each fault, not the hours around it"
    )
    given = parser.parse_args()
    names = given.fault
    known = [fault.instance for fault in FAULTS]
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"there is no {unknown[0]} here: one of {', '.join(known)}")
    wanted = [fault for fault in FAULTS if fault.instance in names or not names]
    began = time.monotonic()
    results: dict[str, play.Result] = {}
    for done in play.play(play.batches(wanted, whole=given.whole)):
        for result in done:
            if not result.good or result.fault.instance not in results:
                results[result.fault.instance] = result
                sys.stderr.write("" if result.good else row(result))
        sys.stderr.write(
            f"{len(results)} of {len(wanted) + 2} hosts after {time.monotonic() - began:.0f} s\n"
        )
    ordered = [
        results[fault.instance] for fault in (HEALTHY, HEALTHY_SUNDAY, *wanted) if fault.instance in results
    ]
    sys.stdout.write("".join(map(row, ordered)))
    good = sum(result.good for result in ordered)
    sys.stdout.write(f"{good} of {len(ordered)} as they should be, {time.monotonic() - began:.0f} s\n")
    return int(good < len(ordered))


def row(result: play.Result) -> str:
    """Return a host's line of the table, and one for each difference."""
    said = ", ".join(f"{dict(alert)['alertname']} {clock(hour)}" for alert, hour in result.told.items())
    lines = [f"{'ok' if result.good else 'WRONG':6}{result.fault.instance:28}{said or 'nothing'}"]
    lines += [f"{'':6}told, but should not be: {written(alert)}" for alert in result.unexpected]
    lines += [f"{'':6}not told, but should be: {each}" for each in result.missing]
    return "\n".join(lines) + "\n"


def written(alert: Alert) -> str:
    """Return an alert's labels."""
    return " ".join(f"{name}={value}" for name, value in sorted(alert))


def clock(hour: float) -> str:
    """Return the time of day; the evening before is marked."""
    minutes = round(hour * 60)
    return f"{'-' if minutes < 0 else ''}{minutes // 60 % 24:02}:{minutes % 60:02}"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except servers.UnavailableError as error:
        sys.exit(f"floodmark: {error}")
