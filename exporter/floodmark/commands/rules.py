"""The alert rules, for a Prometheus that you have already: floodmark rules export DIR.

    floodmark rules export /etc/prometheus/floodmark --set disk_queue_depth=2

writes every *.rules.yml into the folder (it is made if need be) and says what to type next. Do it again after
each update of floodmark, with the same flags: the first lines of each file tell them. Files in there that
floodmark hasn't written are left alone.
"""

from __future__ import annotations

import contextlib
import difflib
import math
import os
import shlex
import sys
from typing import TYPE_CHECKING, NamedTuple

import yaml

import floodmark
from floodmark import config, export, rules

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

_SUFFIX = ".rules.yml"
# What a file of ours starts with, whichever version wrote it.
_OURS = "# Written by floodmark "
_INTERVAL = 15_000  # milliseconds between two scrapes, and between two evaluations
_LOOKBACK = 300_000  # milliseconds for which Prometheus takes a sample as the present one

_EXPORT = """\
Write every *.rules.yml into DIR, for rule_files of a Prometheus from 2.42 on.

All files are written or none. A file of floodmark's that this version has no more is removed, and named; one
that isn't floodmark's (its first line tells) is never touched.

Examples:
  floodmark rules export /etc/prometheus/floodmark
  floodmark rules export /etc/prometheus/floodmark --set rss_creep_bytes='48 * 1024 * 1024'
  floodmark rules export /tmp/rules --faster 60     # hours in minutes, for a demonstration
"""


class Chosen(NamedTuple):
    """What the user wants of the rules."""

    values: Mapping[str, str]
    language: str
    faster: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the one thing to do, and its flags."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    writing = export.parser(actions, _EXPORT)
    writing.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="NAME=VALUE",
        help=f"a threshold's value: NAME as in {rules.THRESHOLD}NAME of thresholds.rules.yml, which says what"
        " each is for; VALUE a number, arithmetic (32 * 1024 * 1024) or +Inf. Once for each threshold",
    )
    writing.add_argument(
        "--lang",
        metavar="LANG",
        help="of the messages: en or ko (default: FLOODMARK_LANG, else en)",
    )
    writing.add_argument(
        "--faster",
        type=int,
        default=1,
        metavar="N",
        help="for demonstrations and tests: divide every duration by N; Prometheus must then scrape and"
        " evaluate every 15 s / N",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write them."""
    shipped = {
        path.name: path.read_text("utf-8") for path in sorted(export.shipped("alerts").glob(f"*{_SUFFIX}"))
    }
    chosen = Chosen(
        _values(arguments.settings, shipped.values()),
        config.language(arguments.lang, os.environ),
        _faster(arguments.faster, shipped.values()),
    )
    target = export.target(arguments.folder, "rules export")
    command = ["floodmark", "rules", "export", str(target), *_flags(chosen)]
    files = {name: _exported(text, chosen, shlex.join(command)) for name, text in shipped.items()}
    before = _thresholds(target)
    removed = export.write(target, files, _KNOWN)
    sys.stdout.write("\n".join(_told(target, files, removed, chosen)) + "\n")
    sys.stderr.writelines(_taken_back(before, files.values(), chosen))
    return 0


def _values(settings: Sequence[str], texts: Iterable[str]) -> dict[str, str]:
    known = {name for text in texts for name in rules.thresholds(text)}
    values: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        name, value = name.strip().removeprefix(rules.THRESHOLD), value.strip()
        if not equals:
            raise config.ConfigError(f"--set {setting}: give it a value, like --set disk_queue_depth=2")
        if name not in known:
            nearest = difflib.get_close_matches(name, sorted(known), 1)
            right = f"did you mean {nearest[0]!r}?" if nearest else f"one of {', '.join(sorted(known))}"
            raise config.ConfigError(f"--set {setting}: no threshold {name!r}: {right}")
        if name in values:
            raise config.ConfigError(f"--set {setting}: {name} is set twice, to {values[name]} before")
        try:
            rules.number(value)
        except ValueError:
            raise config.ConfigError(
                f"--set {setting}: {value!r} is no number: give one, or arithmetic like '32 * 1024', or +Inf"
            ) from None
        values[name] = value
    return values


def _thresholds(target: Path) -> dict[str, str]:
    """Return the thresholds of the export that is there, as written; none where there is none."""
    found = {}
    for path in sorted(target.glob(f"*{_SUFFIX}")):
        if _KNOWN.holds(path):
            with contextlib.suppress(OSError, ValueError, LookupError, AttributeError, yaml.YAMLError):
                found.update(rules.thresholds(path.read_text("utf-8")))  # unless somebody has spoilt it
    return found


def _taken_back(before: Mapping[str, str], files: Iterable[str], chosen: Chosen) -> Iterator[str]:
    """Yield what to know of each threshold that was set and now isn't."""
    for name, value in ((name, value) for text in files for name, value in rules.thresholds(text).items()):
        was = before.get(name, value)
        if was != value and name not in chosen.values:
            yield f"Note: {name} was {was} here and is {value} now. To keep it: --set '{name}={was}'\n"


def _faster(factor: int, texts: Iterable[str]) -> int:
    # Prometheus knows nothing shorter than a millisecond, and a rounded window would be another one. What is
    # shorter than the interval is no window: `offset 1s` is the sample before this one.
    windows = {each for text in texts for each in rules.durations(text) if each >= _INTERVAL}
    most = math.gcd(_INTERVAL, *windows)
    if factor < 1 or most % factor:
        near = sorted((abs(n - factor), n) for n in range(1, most + 1) if most % n == 0)[:2]
        fits = " or ".join(str(n) for n in sorted(n for _, n in near))
        raise config.ConfigError(
            f"--faster {factor}: each duration must stay a whole number of milliseconds: {fits} would do"
        )
    return factor


def _flags(chosen: Chosen) -> list[str]:
    flags = [part for name, value in chosen.values.items() for part in ("--set", f"{name}={value}")]
    flags += ["--lang", chosen.language]
    return [*flags, "--faster", str(chosen.faster)] if chosen.faster > 1 else flags


def _exported(text: str, chosen: Chosen, command: str) -> str:
    exported, changes = rules.export(text, chosen.values, chosen.language, chosen.faster)
    head = [
        f"{_OURS}{floodmark.__version__}; the next export overwrites it. This one was:",
        f"#   {command}",
        *(f"# {change.name} is {change.value}, it was {change.was}." for change in changes),
    ]
    if chosen.faster > 1:
        head.append(
            f"# All durations are divided by {chosen.faster}: Prometheus must scrape and evaluate every"
            f" {_INTERVAL // chosen.faster}ms. Messages that name one (15 minutes) tell the old."
        )
    return "\n".join((*head, "", exported))


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_OURS)) == _OURS.encode()


_KNOWN = export.Ours(f"*{_SUFFIX}", _is_ours, "its first line tells")


def _told(target: Path, files: Mapping[str, str], removed: Sequence[str], chosen: Chosen) -> list[str]:
    pattern = target.absolute() / f"*{_SUFFIX}"
    told = [f"Wrote {len(files)} files to {target}: {', '.join(files)}"]
    told += [f"Removed {name}: floodmark has no such file any more" for name in removed]
    told += [f"Set {name} = {value}" for name, value in chosen.values.items()]
    interval = f"{_INTERVAL // chosen.faster}ms" if chosen.faster > 1 else "15s"
    wanted = ["a scrape job called floodmark", f"scrape_interval and evaluation_interval {interval}"]
    if chosen.faster > 1:
        wanted.append(f"the flag --query.lookback-delta={_LOOKBACK // chosen.faster}ms")
    return [
        *told,
        "",
        "Next:",
        f"  promtool check rules {shlex.quote(str(pattern.parent))}/*{_SUFFIX}",
        f"  in prometheus.yml:  rule_files: ['{pattern}']",
        f"  it needs there:     {', '.join(wanted)}",
        (
            "  then restart it, for the flag"
            if chosen.faster > 1
            else "  then reload it:     systemctl reload prometheus, or kill -HUP its pid"
        ),
    ]
