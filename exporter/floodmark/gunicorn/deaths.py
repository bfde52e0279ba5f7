"""Death records: of each exit that nobody asked for, all that was known at the time."""

from __future__ import annotations

import collections
import dataclasses
import json
from typing import TYPE_CHECKING, Any

from floodmark.agent.rows import METHODS
from floodmark.gunicorn import stack

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

KEPT = 200  # with all their evidence they stay under half a MiB
LATELY = 900.0  # seconds: as far back as the alerts on deaths look
_WORDS = 100  # characters
STACKS = 40  # that have their stack, of 6 KiB at most: another quarter of a MiB


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What decides on the advice, as it was when the worker died; None where it isn't known.

    Attributes:
        oom_limit: whose memory ran out: ``cgroup`` or ``host``; None too where it wasn't an OOM kill.
        limit_bytes: the smallest limit of the app's cgroups.
        memory_bytes: all memory of the host.
        swap_bytes: all swap of the host; 0 is none.
        workers: gunicorn's setting.
        timeout: gunicorn's setting, seconds.
        graceful_timeout: gunicorn's setting, seconds.
        max_requests: gunicorn's setting; 0 is never.
        lacks: for a verdict that lacks a source: what is missing and the grant that mends it.
    """

    oom_limit: str | None = None
    limit_bytes: int | None = None
    memory_bytes: int | None = None
    swap_bytes: int | None = None
    workers: float | None = None
    timeout: float | None = None
    graceful_timeout: float | None = None
    max_requests: float | None = None
    lacks: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """One record.

    Attributes:
        time: Unix time of the end; of its discovery where ``recovered`` and nothing told the time.
        app: its app label.
        pid: on the host; in gunicorn's own pid namespace for one that only gunicorn's log told of.
        slot: its number among the app's workers, None for one that was never seen.
        age: seconds it lived, None where that isn't known.
        cause: of verdict.CAUSES.
        confidence: confirmed, probable or possible.
        evidence: in words.
        resident_bytes: resident memory at the last look, at most a second before; a minute if recovered.
        peak_bytes: the most that was ever resident.
        recovered: it died while floodmark wasn't running.
        in_flight: the requests it was serving, None where that isn't known.
        stack: its stack at its end, None where that isn't known.
    """

    time: float
    app: str
    pid: int
    slot: int | None
    age: float | None
    cause: str
    confidence: str
    evidence: tuple[str, ...]
    resident_bytes: int | None = None
    peak_bytes: int | None = None
    recovered: bool = False
    in_flight: tuple[str, ...] | None = None
    stack: str | None = None
    circumstances: Circumstances = Circumstances()


def doing(death: Death) -> str:
    """Return in a few words what it was doing: fit for a label, and never the path of a request.

    The innermost call of the app's own code, or else the kind of request; empty where neither is known.
    """
    if where := stack.doing(death.stack):
        return "".join(each if each.isprintable() else "?" for each in where.short)[-_WORDS:]
    served = death.in_flight or ()
    if len(served) != 1:
        return f"{len(served)} requests" if served else ""
    method = served[0].partition(" ")[0].rstrip(",")  # no path follows where the app keeps it to itself
    return f"a {method} request" if method in METHODS else "a request"


class Deaths:
    """The newest records, and since when any would be among them (Unix time)."""

    def __init__(self, since: float, earlier: tuple[Death, ...] = ()) -> None:
        self.since = since
        self._newest = list(earlier)

    def add(self, death: Death) -> None:
        """Add a record. Where there are too many, the app that has most of them loses its oldest.

        So an app in a crash loop never pushes out what is known of another.
        """
        self._newest.append(death)
        if len(self._newest) > KEPT:
            ((app, _),) = collections.Counter(each.app for each in self._newest).most_common(1)
            self._newest.remove(next(each for each in self._newest if each.app == app))
        stacks = [place for place, each in enumerate(self._newest) if each.stack]
        for place in stacks[:-STACKS]:
            self._newest[place] = dataclasses.replace(self._newest[place], stack=None)

    def last(self, app: str, now: float) -> Death | None:
        """Return an app's last death, None where it was long ago; ``now`` is Unix time."""
        mine = [each for each in self._newest if each.app == app and now - each.time < LATELY]
        return max(mine, key=lambda each: each.time, default=None)

    def all(self) -> tuple[Death, ...]:
        """Return the records, oldest first."""
        return tuple(self._newest)


def page(since: float, deaths: tuple[Death, ...]) -> bytes:
    """Return what /deaths serves: ``{"since": Unix time, "deaths": [newest first]}``, fields as in Death."""
    newest_first = sorted(deaths, key=lambda death: death.time, reverse=True)
    return f'{{"since": {since}, "deaths": {dumps(newest_first)}}}\n'.encode()


def dumps(deaths: Iterable[Death]) -> str:
    """Return records as a JSON array, made one by one: together they would be a MiB of objects."""
    return f"[{', '.join(json.dumps(to_json(death)) for death in deaths)}]"


def to_json(death: Death) -> dict[str, Any]:
    """Return a record as JSON has it."""
    return dataclasses.asdict(death)


def from_json(record: Mapping[str, Any]) -> Death:
    """Read a record that ``to_json`` made.

    Raises:
        TypeError, KeyError, AttributeError: it isn't one.
    """
    circumstances = Circumstances(
        **{**record["circumstances"], "lacks": tuple(record["circumstances"]["lacks"])}
    )
    in_flight = record["in_flight"] and tuple(record["in_flight"])
    return Death(
        **{
            **record,
            "evidence": tuple(record["evidence"]),
            "in_flight": in_flight,
            "circumstances": circumstances,
        }
    )
