"""The pictures of docs/img: each dashboard, drawn from a replayed evening by Grafana's own components.

A real Prometheus is given the evening of story.py as history, what the shipped rules record of it, and the
alerts that promtool says fire; view/ asks it what the dashboards ask, and draws.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml

from deploy.demo import servers
from docs.pictures.story import BEGIN, END, STORY, story
from tests.day import play
from tests.day.series import RUN_UP, STEP, index
from tests.support.promql import selectors
from tests.support.replay import Prometheus

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DASHBOARDS = ROOT / "dashboards" / "json"
IMAGES = ROOT / "docs" / "img"
VIEW = Path(__file__).parent / "view"

SCRAPE = STEP // 2  # seconds
OFF = 4.321
# No longer after its last sample is a series shown: files can't tell that it ended, as scrapes do.
LOOKBACK = "90s"
_PROGRAMS = {"node": "nodejs", "npm": "npm", "chromium": "chromium"}


def main() -> int:
    """Play, draw; return 1 where a panel is empty or fails."""
    parser = argparse.ArgumentParser(prog="python -m docs.pictures.draw", description=__doc__)
    parser.add_argument("dashboard", nargs="*", help="only these (default: all)")
    parser.add_argument("--to", type=Path, default=IMAGES, help="the folder for the pictures (%(default)s)")
    parser.add_argument("--width", type=int, default=1366, help="in pixels; 390 is a phone (%(default)s)")
    parser.add_argument("--whole", action="store_true", help="the rows below the first screen as well")
    parser.add_argument(
        "--datasource", default="floodmark-prometheus", help="its uid in Grafana (%(default)s)"
    )
    given = parser.parse_args()
    known = sorted(path.stem for path in DASHBOARDS.glob("*.json"))
    if unknown := sorted(set(given.dashboard) - set(known)):
        parser.error(f"there is no {unknown[0]} here: one of {', '.join(known)}")
    view = install()
    given.to.mkdir(parents=True, exist_ok=True)
    failed = []
    end = evening(time.time())
    with TemporaryDirectory(prefix="floodmark-pictures-") as temporary:
        prometheus = Prometheus(Path(temporary), (servers.find("prometheus"), servers.find("promtool")))
        try:
            replay(prometheus, Path(temporary), end)
            for name in given.dashboard or known:
                say(f"drawing {name}")
                done = subprocess.run(
                    [
                        *(
                            "node",
                            view,
                            DASHBOARDS / f"{name}.json",
                            prometheus.url,
                            given.to / f"{name}.png",
                        ),
                        *(f"--from={end - (END - BEGIN) * 3600:.0f}", f"--to={end:.0f}"),
                        *(f"--width={given.width}", f"--scrape={SCRAPE}", f"--datasource={given.datasource}"),
                        *([] if given.whole else ["--first-screen"]),
                        f"--chromium={shutil.which('chromium')}",
                    ],
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=300,
                )
                if done.returncode:
                    failed.append(name)
                    sys.stderr.write(done.stdout + done.stderr)
        finally:
            prometheus.stop()
    say(f"{given.to}: {len(given.dashboard or known) - len(failed)} pictures")
    return int(bool(failed))


def evening(now: float) -> float:
    """Return when the story last ended: at its own hour of the clock, in UTC, as a Unix time."""
    today = dt.datetime.fromtimestamp(now, dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    end = today.timestamp() + END * 3600
    return end if end <= now else end - 86400


def install() -> Path:
    """Return the built tool that draws, installed into the cache if it is missing or old.

    Raises:
        servers.UnavailableError: a program is missing, or npm failed.
    """
    if missing := [program for program in _PROGRAMS if not shutil.which(program)]:
        packages = " ".join(_PROGRAMS[program] for program in missing)
        raise servers.UnavailableError(f"no {', '.join(missing)} here. Type: sudo apt-get install {packages}")
    sources = sorted(path for path in VIEW.iterdir() if path.is_file())
    version = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    home = servers.cache().parent / "pictures"
    built = home / "built"
    if not (built.is_file() and built.read_text() == version):
        say(f"installing what draws into {home} (the first time: a minute or two, 400 MB)")
        home.mkdir(parents=True, exist_ok=True)
        for path in sources:
            shutil.copy(path, home)
        quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        for command in (("npm", "ci", "--legacy-peer-deps", *quiet), ("npm", "run", "--silent", "build")):
            done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
            if done.returncode:
                raise servers.UnavailableError(f"{' '.join(command)} failed:\n{done.stderr}{done.stdout}")
        built.write_text(version)
    return home / "view.mjs"


def replay(prometheus: Prometheus, folder: Path, end: float) -> None:
    """Have a running Prometheus remember the story: series, what rules record of them, alerts."""
    first, shown = end - (END + RUN_UP) * 3600, end - (END - BEGIN) * 3600
    pool = ThreadPoolExecutor()
    fired = pool.submit(list, alerts(first))
    say("the evening's series")
    prometheus.load(history(first))
    levels = recorded()
    for number, rules in enumerate(levels, 1):
        say(f"what rules record, {number} of {len(levels)}")
        file = folder / "level.rules.yml"
        file.write_text(yaml.safe_dump({"groups": [{"name": "level", "rules": rules}]}))
        prometheus.start({}, f"--query.lookback-delta={LOOKBACK}")
        # What only averages look back on needs no more.
        prometheus.record([file], first, shown, 60_000)
        prometheus.record([file], shown, end, STEP * 1000)
        prometheus.stop()
    say("which alerts fire")
    prometheus.load(fired.result())
    prometheus.start({}, f"--query.lookback-delta={LOOKBACK}")


def history(first: float) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Yield the series of the story with their times and values; the first sample is at a Unix time.

    The part that is seen is scraped each 15 s, as shipped: between two samples a counter has half of what
    it grows by, but nothing happens by halves. No scrape falls on a full second of the queries, as none does.
    """
    host = story()
    seen = index(BEGIN - 1)
    for key, values in host.samples(-RUN_UP, END + 1 / 60, first):
        points = []
        for i, value in enumerate(values):
            at = first + i * STEP - OFF
            before = values[i - 1]
            if i > seen and value is not None and before is not None:
                half = before if key in host.gauges or value < before else (value + before) / 2
                whole = float(value).is_integer() and float(before).is_integer()
                points.append((at - SCRAPE, float(half // 1 if whole else half)))
            if value is not None:
                points.append((at, float(value)))
        yield f'{key},instance="{STORY.instance}"}}', points


def recorded() -> list[list[dict[str, Any]]]:
    """Return the rules that record, those that ask what others record after these."""
    left = [{"record": rule["record"], "expr": rule["expr"]} for rule in play.rules() if "record" in rule]
    levels = []
    while left:
        missing = {rule["record"] for rule in left}
        # A rule may ask for what it itself recorded before.
        level = [
            rule
            for rule in left
            if not {each.name for each in selectors(rule["expr"])} & (missing - {rule["record"]})
        ]
        if not level:
            raise AssertionError(f"rules that wait for each other: {sorted(missing)}")
        levels.append(level)
        left = [rule for rule in left if rule not in level]
    return levels


def alerts(
    first: float, hours: tuple[float, float] = STORY.hours
) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Yield ALERTS with their times: what promtool, given the story and the rules, says is firing."""
    times: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for hour, firing in play.firing(play.Batch((STORY,), *hours)).items():
        for alert in firing:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(alert))
            series = f'ALERTS{{alertstate="firing",{labels}}}'
            times[series].append((first + (hour + RUN_UP) * 3600, 1.0))
    yield from times.items()


def say(line: str) -> None:
    """Say how far it is."""
    print(f"floodmark: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except servers.UnavailableError as error:
        sys.exit(f"floodmark: {error}")
