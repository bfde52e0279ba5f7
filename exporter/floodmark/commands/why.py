"""Why workers died: each death that nobody asked for, in plain words, newest last.

Asks the running exporter; where that doesn't answer, it reads the state file it left (--state-dir, or
FLOODMARK_STATE_DIR). Exit status 0, also where no worker died; 1 where neither can be had.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO
from urllib.parse import urlsplit

from floodmark import config, state
from floodmark.gunicorn import deaths, stack
from floodmark.gunicorn.advice import advise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from floodmark.gunicorn.deaths import Death

URL = "http://127.0.0.1:9717"
_LAST = 5
_TIMEOUT = 5.0  # seconds for the exporter to answer
_WIDTH = 79  # a line as wide as the terminal wraps in some of them
_BOLD, _RED, _DIM, _PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[2m", "\x1b[0m"

_TITLES = {
    "oom_kill": "killed by the kernel: out of memory",
    "timeout": "killed by gunicorn: timeout",
    "shutdown_kill": "killed by gunicorn: it didn't stop in time",
    "crash_signal": "crashed",
    "boot_error": "failed to start",
    "nonzero_exit": "ended with an error code",
    "external_kill": "killed from outside: kill -9",
    "exit_unrequested": "ended though nobody asked it to",
    "sigkill_unknown": "killed, by whom can't be told",
    "unknown": "ended, why can't be told",
}


class NowhereError(Exception):
    """No death record can be had; the text says what to type."""


class Told(NamedTuple):
    """The records, newest first.

    Attributes:
        since: Unix time from which on there would be any.
        deaths: the records.
        kept: where no exporter answers: how it doesn't, and of when what a stopped one kept is.
    """

    since: float
    deaths: list[Death]
    kept: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--last", type=_count, default=_LAST, metavar="N", help="how many (default: %(default)s)"
    )
    parser.add_argument("--app", metavar="APP", help="of this app only")
    parser.add_argument("--json", action="store_true", help="the records themselves, newest first")
    parser.add_argument("--url", default=URL, help="the running exporter (default: %(default)s)")
    parser.add_argument("--state-dir", metavar="DIR", help="serve's, read where no exporter answers")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a number from 1 up, not {text!r}")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Tell."""
    folder = arguments.state_dir or os.environ.get(config.ENV_PREFIX + "STATE_DIR")
    try:
        told = _told(arguments.url, Path(folder) if folder else None)
    except NowhereError as error:
        print(f"floodmark why: {error}", file=sys.stderr)  # noqa: T201 - said to the person who typed
        return 1
    if told.kept:
        print(f"floodmark why: {told.kept}", file=sys.stderr)  # noqa: T201 - as above
    chosen = [death for death in told.deaths if arguments.app in (None, death.app)]
    shown = chosen[: arguments.last]
    if arguments.json:
        document = {"since": told.since, "deaths": [deaths.to_json(death) for death in shown]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        _tell(told.since, shown, len(chosen), arguments.app, sys.stdout)
    return 0


def _told(url: str, folder: Path | None) -> Told:
    try:
        return _asked(url)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if folder is None:
        raise NowhereError(
            f"no exporter answers at {url} ({reason}). Start one: floodmark serve. If it listens elsewhere:"
            " floodmark why --url http://HOST:PORT. To read what a stopped one kept: floodmark why"
            " --state-dir DIR"
        )
    try:
        kept = state.read(folder)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise NowhereError(
            f"no exporter answers at {url} ({reason}), and {folder / state.NAME} can't be read: {why}."
            " Start the exporter: floodmark serve"
        ) from error
    if kept is None:
        raise NowhereError(
            f"no exporter answers at {url} ({reason}), and there is no {folder / state.NAME}."
            f" Start the exporter: floodmark serve --state-dir {folder}"
        )
    return Told(
        kept.since,
        sorted(kept.deaths, key=lambda death: death.time, reverse=True),
        f"No exporter answers at {url} ({reason}). This is what a stopped one kept, of {_local(kept.saved)}:"
        " later deaths are unknown until it runs again",
    )


def _asked(url: str) -> Told:
    """Return what the exporter at an address tells.

    Raises:
        OSError, HTTPException: it doesn't answer.
        ValueError: it isn't this version of floodmark that answers.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise config.ConfigError(f"--url must be like {URL}, not {url!r}")
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=_TIMEOUT)
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/deaths")
        answer = connection.getresponse()
        document: dict[str, Any] = json.loads(answer.read())
        return Told(float(document["since"]), [deaths.from_json(death) for death in document["deaths"]])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError("something else answers there, or another version") from error
    finally:
        connection.close()


def _tell(since: float, shown: list[Death], count: int, app: str | None, out: TextIO) -> None:
    colour = out.isatty() and "NO_COLOR" not in os.environ
    now = time.time()
    of = f" of {app}" if app else ""
    if not shown:
        out.write(f"No deaths{of} recorded since {_local(since)} ({_ago(now - since)}).\n")
        return
    for death in reversed(shown):
        out.writelines(
            f"{style}{line}{_PLAIN}\n" if colour and style else f"{line}\n"
            for style, line in lines(death, now)
        )
        out.write("\n")
    last = f"The last {len(shown)} of {count}" if len(shown) < count else f"{count}"
    ending = [f"{last} unwanted death{'s' * (count > 1)}{of} since {_local(since)}"]
    if len(shown) < count:
        ending.append(f"More: --last {count}")
    out.writelines(f"{_DIM}{line}{_PLAIN}\n" if colour else f"{line}\n" for line in ending)


def lines(death: Death, now: float) -> Iterator[tuple[str, str]]:
    """Yield a record as lines for a terminal 80 columns wide, each with its style.

    Args:
        death: the record.
        now: Unix time.
    """
    worker = "a worker" if death.slot is None else f"worker {death.slot}"
    title = f"{death.app}: {worker} {_TITLES.get(death.cause, death.cause)}"
    for line in textwrap.wrap(_plain(title), _WIDTH, break_on_hyphens=False):
        yield _BOLD + _RED, line
    rows = [
        ("when", f"{_local(death.time)}, {_ago(now - death.time)}"),
        ("cause", f"{death.cause}, {death.confidence}"),
        *(("evidence", words) for words in death.evidence),
        ("worker", _worker(death)),
        *(("doing", words) for words in _doing(death)),
        *(("next", f"- {words}") for words in advise(death)),
    ]
    before = ""
    for name, words in rows:
        label = "" if name == before else name
        before = name
        # No hyphen and no long word is broken: what is to be typed must survive a copy.
        hang = "  " if name == "next" else ""
        wrapped = textwrap.wrap(
            _plain(words), _WIDTH - 12, subsequent_indent=hang, break_on_hyphens=False, break_long_words=False
        )
        for number, line in enumerate(wrapped or [""]):
            yield "", f"  {label if number == 0 else '':10}{line}"
    if death.stack:
        for number, line in enumerate(stack.told(death.stack, _WIDTH - 12)):
            yield "", f"  {'stack' if number == 0 else '':10}{_plain(line)}"


def _doing(death: Death) -> tuple[str, ...]:
    """Return what it was serving; of an app without the agent nothing is said, for nothing is known."""
    return ("no request",) if death.in_flight == () else death.in_flight or ()


def _plain(text: str) -> str:
    """Return a text without what a terminal would act on: names, paths and stacks are the app's to write."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def _worker(death: Death) -> str:
    parts = [f"pid {death.pid}"]
    if death.age is not None:
        parts.append(f"lived {_span(death.age)}")
    if death.resident_bytes is not None:
        parts.append(f"{death.resident_bytes / 2**20:.0f} MiB at the last look")
    if death.peak_bytes is not None:
        parts.append(f"{death.peak_bytes / 2**20:.0f} MiB at most")
    return ", ".join(parts)


def _local(when: float) -> str:
    return time.strftime("%a %d %b %Y %H:%M:%S", time.localtime(when))


def _ago(seconds: float) -> str:
    return f"{_span(seconds)} ago" if seconds >= 1 else "just now"


def _span(seconds: float) -> str:
    """Return a span in its two largest units."""
    left = round(max(0.0, seconds))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        number, left = divmod(left, size)
        if number or (unit == "s" and not parts):
            parts.append(f"{number} {unit}")
        elif parts:
            break
    return " ".join(parts[:2])
