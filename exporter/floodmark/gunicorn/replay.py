"""What gunicorn logged while floodmark wasn't running, and what it proves of workers nobody watched.

A worker that was born and died meanwhile is known from these lines alone. Never more than they prove: where
two gunicorns share a file, or another began to write to it, a worker's own line doesn't say whose it is.
"""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from floodmark.gunicorn.model import Worker
from floodmark.sources import gunicornlog
from floodmark.sources.gunicornlog import Booting, Ended, Recycle, Timeout
from floodmark.sources.procfs.process import Identity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from floodmark.gunicorn.model import Gunicorn
    from floodmark.gunicorn.verdict import Evidence
    from floodmark.sources.gunicornlog import Line

NO_SLOT = -1  # of a worker that only the log knows


class Replay:
    """Goes through the lines that a gunicorn wrote since an earlier run of floodmark read them.

    Args:
        gunicorn: with its workers of then; those the log tells of are added to them.
        saved: Unix time of the earlier run's last word.
        alone: no other gunicorn that is followed writes to this log.

    Attributes:
        complete: no line is missing.
    """

    def __init__(self, gunicorn: Gunicorn, saved: float, *, alone: bool) -> None:
        self.complete = gunicorn.log is not None and gunicorn.log.complete
        self._gunicorn = gunicorn
        self._saved = saved
        self._alone = alone
        self._told: dict[int, float] = {}

    def lines(self) -> Iterator[Line]:
        """Yield them; before a worker's first line the worker is there."""
        for text in self._texts():
            line = gunicornlog.parse(text)
            when = gunicornlog.when(text)
            if line is None or self._is_old(when):
                continue
            self._introduce(line, when)
            yield line
            match line.event:
                case Timeout(pid) | Ended(pid) | Recycle(pid) if when is not None:
                    self._told[id(self._by_log_pid().get(pid))] = when

    def unexplained(self, living: Collection[int]) -> list[Worker]:
        """Return the workers that are gone though no line says so.

        Args:
            living: log pids of the master's children: who only booted is one of them, to be taken in as such.
        """
        unexplained = []
        for worker in list(self._gunicorn.workers.values()):
            if worker.ended is not None or not worker.recovered:
                continue
            if not worker.sure and (self._gunicorn.gone or worker.namespace_pid in living):
                del self._gunicorn.workers[worker.identity.pid]
            else:
                unexplained.append(worker)
        return unexplained

    def date(self) -> None:
        """Give each end the time at which the log told of it."""
        for worker in self._gunicorn.workers.values():
            if worker.recovered:
                worker.died = self._told.get(id(worker), worker.died)

    def _texts(self) -> Iterator[str]:
        try:
            yield from self._gunicorn.log.lines() if self._gunicorn.log else ()
        except OSError:  # a file system that fails costs the rest of the log, not the start
            self.complete = False

    def _is_old(self, when: float | None) -> bool:
        # A file that was written anew may hold lines that were counted already. Whole seconds are logged.
        return not self.complete and (when is None or when <= self._saved)

    def _introduce(self, line: Line, when: float | None) -> None:
        known = self._by_log_pid()
        master = self._gunicorn.master
        match line.event:
            case Booting(pid) if self._alone and line.writer == pid:
                if pid not in known or known[pid].ended is not None:
                    self._add(pid, when)
            case Timeout(pid) | Ended(pid) if line.writer == master.namespace_pid:
                if pid not in known and pid not in self._gunicorn.judged:
                    self._add(pid, None)
            case _:
                writers = {master.namespace_pid, *known, *self._gunicorn.judged}
                self._alone = self._alone and line.writer in writers

    def _add(self, log_pid: int, booted: float | None) -> None:
        worker = add(self._gunicorn, log_pid, -1)
        worker.started = booted or 0.0
        worker.recovered = True

    def _by_log_pid(self) -> dict[int, Worker]:
        return {worker.namespace_pid: worker for worker in self._gunicorn.workers.values()}


def add(gunicorn: Gunicorn, log_pid: int, ticks: int) -> Worker:
    """Add a worker that nobody saw alive to a gunicorn's; ``ticks`` is its start time, -1 where unknown."""
    master, workers = gunicorn.master, gunicorn.workers
    pid = log_pid
    if master.namespace_pid != master.identity.pid or pid in workers:
        pid = min(0, *workers) - 1  # which it was on the host isn't known
    worker = Worker(Identity(pid, ticks), log_pid, NO_SLOT, started=0.0, sure=False)
    workers[pid] = worker
    return worker


def what_is_left(
    evidence: Evidence, gunicorn: Gunicorn, worker: Worker, *, kernel_log_complete: bool
) -> Evidence:
    """Return the evidence of an end that nobody watched: a source with gaps can't deny anything."""
    return dataclasses.replace(
        evidence,
        log_tells_kills=evidence.log_tells_kills and gunicorn.log_complete,
        log_tells_all=evidence.log_tells_all and gunicorn.log_complete,
        oom_tells=kernel_log_complete and worker.identity.pid > 0,
    )


def unwatched(saved: float) -> str:
    """Say that nobody watched, and up to when what is known was seen."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(saved))
    return f"floodmark wasn't running then; what it had kept is of {stamp}"
