"""A followed gunicorn and its workers, and what others get to see of them."""

from __future__ import annotations

import collections
import dataclasses
from typing import TYPE_CHECKING, NamedTuple, Protocol

from floodmark.gunicorn.asked import Asked
from floodmark.gunicorn.verdict import CAUSES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from floodmark.agent.ledger import Exit
    from floodmark.gunicorn.deaths import Death
    from floodmark.gunicorn.find import Master
    from floodmark.gunicorn.inside import Inside
    from floodmark.sources.cgroup import MemoryCgroup
    from floodmark.sources.heartbeat import Heartbeat
    from floodmark.sources.logposition import Position
    from floodmark.sources.procfs.process import Identity


_JUDGED = 64


class Log(Protocol):
    """Where gunicorn's log can be followed: a file, a container's output, the journal.

    Attributes:
        complete: nothing is missing of what was written since an earlier run read it.
        lost: what is written now goes where it can't be read.
    """

    complete: bool

    @property
    def lost(self) -> bool:
        """See above."""
        ...

    def position(self) -> Position | None:
        """Return how far it was read, None where a later run can't go on from there."""
        ...

    def lines(self) -> Iterator[str]:
        """Yield the complete lines since the last call."""
        ...

    def close(self) -> None:
        """Stop following."""
        ...


@dataclasses.dataclass(slots=True, eq=False)
class Worker:
    """A worker and what is known of its end so far.

    Attributes:
        namespace_pid: its pid as gunicorn's log has it.
        slot: its stable number among its app's live workers, from 0.
        started: Unix time.
        sure: seen to be a worker; before that it may still turn out to be another child of the master.
        doubted: it didn't look like a worker once, as one doesn't that is about to exit.
        named: gunicorn's log calls it a worker.
        ended: steady time of its end, None while it lives.
        oom_in_doubt: its cgroup counted fewer OOM kills than workers that may have died of one.
        order: the signal to its master (hup, term, ...) by which it was told to end.
        died: Unix time of its end, None while it lives or where nothing told.
        memory: resident memory and its peak in bytes at the last look, None before the first.
        recovered: it ended while floodmark wasn't running.
        told: its end as the agent in its master saw it, None where there is no such record.
    """

    identity: Identity
    namespace_pid: int
    slot: int
    started: float
    sure: bool
    doubted: bool = False
    named: bool = False
    heartbeat: Heartbeat | None = None
    descriptor: int | None = None
    ended: float | None = None
    heartbeat_age: float | None = None
    status: int | None = None
    timeout_logged: bool = False
    aborted: bool = False
    recycle_logged: bool = False
    order: str | None = None
    oom_in_doubt: bool = False
    died: float | None = None
    memory: tuple[int, int] | None = None
    recovered: bool = False
    told: Exit | None = None


@dataclasses.dataclass(slots=True, eq=False)
class Gunicorn:
    """A master that is followed, its workers by pid, those that ended but aren't judged yet included.

    Attributes:
        log_understood: lines in gunicorn's own format came: a missing line means something.
        log_at_info: among them one of level info.
        oom_count: its cgroup's OOM counter when it was last read, None where it can't be.
        oom_kills: when that counter rose, steady time, as far as no end is explained by it.
        log_complete: all that was logged while floodmark wasn't running could be read.
        inside: what the agent in it tells, None where it has none that can be seen.
        judged: log pids of workers that were judged last: their lines may come again after a restart.
    """

    master: Master
    cgroup: MemoryCgroup | None
    oom_count: int | None
    workers: dict[int, Worker] = dataclasses.field(default_factory=dict)
    log: Log | None = None
    log_understood: bool = False
    log_at_info: bool = False
    oom_kills: list[float] = dataclasses.field(default_factory=list)
    asked: Asked = dataclasses.field(default_factory=Asked)
    gone: bool = False
    log_complete: bool = True
    inside: Inside | None = None
    judged: collections.deque[int] = dataclasses.field(
        default_factory=lambda: collections.deque(maxlen=_JUDGED)
    )


@dataclasses.dataclass(slots=True)
class Tally:
    """What is counted for an app since it was first seen; ``recovered``: unwanted exits while unwatched."""

    exits: dict[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(CAUSES, 0))
    sigkills: int = 0
    boots: int = 0
    reloads: int = 0
    recovered: int = 0


class LiveWorker(NamedTuple):
    """A live worker for the collector; ``heartbeat_age`` is in seconds, None where it can't be seen."""

    identity: Identity
    namespace_pid: int
    slot: int
    started: float
    heartbeat_age: float | None


class AppState(NamedTuple):
    """An app for the collector: its running masters (two during an upgrade, none once it stopped)."""

    name: str
    masters: tuple[Master, ...]
    cgroups: tuple[MemoryCgroup, ...]
    workers: tuple[LiveWorker, ...]
    tally: Tally
    last_death: Death | None = None

    @property
    def processes(self) -> tuple[Identity, ...]:
        """Its masters and workers."""
        masters = tuple(master.identity for master in self.masters)
        return (*masters, *(worker.identity for worker in self.workers))
