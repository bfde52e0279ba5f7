"""What a restart of floodmark must not lose, and how it is written down: one JSON object.

    {"version": 1, "host": "boot id and pid namespace", "saved": Unix time, "since": Unix time,
     "kernel_log": last record's number, "kills": [[pid, scope, anonymous bytes], ...],
     "apps": {label: {"seen": Unix time, "exits": {cause: count}, "sigkills": ..., ...}},
     "gunicorns": [{"app": ..., "pid": ..., "log": [position], "folder": ..., "workers": [...], ...}],
     "deaths": [records, oldest first]}

All of it is of one moment: what is counted there, and how far the logs were read when it was counted.
That is why nothing is lost and nothing counted twice, however floodmark ends.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from floodmark.gunicorn import deaths, settings
from floodmark.gunicorn.find import Master
from floodmark.gunicorn.model import Tally, Worker
from floodmark.gunicorn.verdict import CAUSES
from floodmark.sources.kmsg import OomKill
from floodmark.sources.logposition import Position
from floodmark.sources.procfs.process import Identity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from floodmark.gunicorn.deaths import Death
    from floodmark.gunicorn.model import Gunicorn

VERSION = 1
FORGOTTEN = 3600.0  # seconds that an app's counts outlive it: four times what the alerts on them look back
STOPPED = 32  # apps that stopped whose counts are kept at most

# What is kept of a worker beside its identity; the rest belongs to the running exporter.
_WORKER = (
    "namespace_pid",
    "slot",
    "started",
    "sure",
    "died",
    "status",
    "heartbeat_age",
    "timeout_logged",
    "aborted",
    "recycle_logged",
    "order",
    "recovered",
)


class KeptGunicorn(NamedTuple):
    """A followed gunicorn.

    ``log`` is how far its log was read, ``folder`` its agent's; None where there was none to be read.
    """

    app: str
    master: Identity
    namespace_pid: int
    log: Position | None
    log_understood: bool
    log_at_info: bool
    judged: tuple[int, ...]
    workers: tuple[Worker, ...]
    folder: str | None = None


class Kept(NamedTuple):
    """All that is kept.

    Attributes:
        host: boot id and pid namespace: pids mean nothing under another. Empty where it isn't known.
        saved: Unix time.
        since: Unix time from which on deaths would be among the records.
        kernel_log: number of the last record of the kernel's log that was read, None where it can't be.
        kills: kills from the kernel's log, their victims may still be judged.
        seen: Unix time at which each app ran last.
    """

    host: str
    saved: float
    since: float
    kernel_log: int | None
    kills: tuple[OomKill, ...]
    tallies: Mapping[str, Tally]
    seen: Mapping[str, float]
    gunicorns: tuple[KeptGunicorn, ...]
    deaths: tuple[Death, ...]

    def essence(self) -> object:
        """Return what must be written at once when it changes: all that a record or a count hangs on."""
        workers = [
            (gunicorn.master, [(worker.identity, worker.slot, worker.died) for worker in gunicorn.workers])
            for gunicorn in self.gunicorns
        ]
        return self.tallies, self.deaths, workers


def of(gunicorn: Gunicorn) -> KeptGunicorn:
    """Take what is kept of a gunicorn. Forks that may yet turn out to be a program aren't."""
    return KeptGunicorn(
        gunicorn.master.app,
        gunicorn.master.identity,
        gunicorn.master.namespace_pid,
        _position(gunicorn),
        gunicorn.log_understood,
        gunicorn.log_at_info,
        tuple(gunicorn.judged),
        tuple(
            dataclasses.replace(worker)
            for worker in gunicorn.workers.values()
            if worker.sure or worker.ended is not None
        ),
        gunicorn.inside.folder if gunicorn.inside else None,
    )


def _position(gunicorn: Gunicorn) -> Position | None:
    try:
        return gunicorn.log.position() if gunicorn.log else None
    except OSError:  # a file system that fails
        return None


def gone(kept: KeptGunicorn) -> Master:
    """Return what is still known of a master that ended."""
    return Master(kept.master, kept.app, settings.UNKNOWN, "unknown", kept.namespace_pid)


def dumps(kept: Kept) -> str:
    """Return it as JSON."""
    head = {
        "version": VERSION,
        "host": kept.host,
        "saved": kept.saved,
        "since": kept.since,
        "kernel_log": kept.kernel_log,
        "kills": kept.kills,
        "apps": {
            app: {"seen": kept.seen[app], **dataclasses.asdict(tally)} for app, tally in kept.tallies.items()
        },
        "gunicorns": [
            gunicorn._asdict() | {"workers": [_worker_to_json(worker) for worker in gunicorn.workers]}
            for gunicorn in kept.gunicorns
        ],
    }
    return f'{json.dumps(head)[:-1]}, "deaths": {deaths.dumps(kept.deaths)}}}'


def from_json(document: Mapping[str, Any]) -> Kept:
    """Read what ``dumps`` made.

    Raises:
        TypeError, KeyError, ValueError, AttributeError: it isn't that.
    """
    apps = document["apps"]
    return Kept(
        host=document["host"],
        saved=float(document["saved"]),
        since=float(document["since"]),
        kernel_log=document["kernel_log"],
        kills=tuple(OomKill(*kill) for kill in document["kills"]),
        tallies={app: _tally(counts) for app, counts in apps.items()},
        seen={app: float(counts["seen"]) for app, counts in apps.items()},
        gunicorns=tuple(map(_gunicorn, document["gunicorns"])),
        deaths=tuple(map(deaths.from_json, document["deaths"])),
    )


def _worker_to_json(worker: Worker) -> dict[str, Any]:
    own = {name: getattr(worker, name) for name in _WORKER}
    return {"identity": worker.identity, "memory": worker.memory} | own


def _worker(record: Mapping[str, Any]) -> Worker:
    memory = record["memory"]
    return Worker(
        identity=_identity(record["identity"]),
        memory=(int(memory[0]), int(memory[1])) if memory else None,
        **{name: record[name] for name in _WORKER if name in record} | {"slot": int(record["slot"])},
    )


def _identity(pair: Sequence[Any]) -> Identity:
    pid, start_ticks = pair
    return Identity(int(pid), int(start_ticks))


def _gunicorn(record: Mapping[str, Any]) -> KeptGunicorn:
    return KeptGunicorn(
        **{
            **record,
            "master": _identity(record["master"]),
            "log": record["log"] and Position(*record["log"]),
            "judged": tuple(record["judged"]),
            "workers": tuple(map(_worker, record["workers"])),
        }
    )


def _tally(counts: Mapping[str, Any]) -> Tally:
    # A cause that this version doesn't know is another's: its count can't be shown.
    return Tally(
        exits={cause: int(counts["exits"].get(cause, 0)) for cause in CAUSES},
        **{name: int(counts[name]) for name in ("sigkills", "boots", "reloads", "recovered")},
    )
