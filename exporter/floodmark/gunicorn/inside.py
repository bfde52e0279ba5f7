"""How workers ended as the agent in their master saw it, by the ledger it keeps.

It says what the master did and saw: the status it reaped, the signals it sent, that it gave a worker up. A
kill by the kernel is nothing it sees.
"""

from __future__ import annotations

import collections
import dataclasses
import os
from typing import TYPE_CHECKING

from floodmark.agent import ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from floodmark.agent.ledger import Exit
    from floodmark.gunicorn.model import Worker

_COUNTED = 256  # ends remembered as counted: more than a ledger has room for
_UNKNOWN = -1  # start time of a worker that was gone before it could be looked at


@dataclasses.dataclass(slots=True, eq=False)
class Inside:
    """An app's ledger; two masters of an app share it, as there are during an upgrade.

    Attributes:
        folder: where it is.
        since: Unix time; ends up to then are counted, or are of no concern.
    """

    folder: str
    since: float
    _version: tuple[int, int, int] | None = None
    _problem: ValueError | None = None
    _exits: tuple[Exit, ...] = ()
    _counted: collections.deque[tuple[int, int]] = dataclasses.field(
        default_factory=lambda: collections.deque(maxlen=_COUNTED)
    )

    def read(self) -> None:
        """Read it anew where it has changed.

        Raises:
            OSError: it can't be read; what was read before stays known.
            ValueError: it is none.
        """
        try:
            status = os.stat(os.path.join(self.folder, ledger.NAME), follow_symlinks=False)  # noqa: PTH116, PTH118 - each second
        except FileNotFoundError:
            return  # no worker has died yet
        version = status.st_ino, status.st_mtime_ns, status.st_size
        if version != self._version:
            try:
                self._exits, self._problem = tuple(map(_checked, ledger.exits(self.folder))), None
            except (ValueError, TypeError, AttributeError, RecursionError) as error:
                self._problem = ValueError(f"{self.folder}/{ledger.NAME} is no ledger: {error}")
            self._version = version
        if self._problem:
            raise self._problem

    def of(self, worker: Worker) -> Exit | None:
        """Return what is told of a worker's end, None where nothing is."""
        ticks = worker.identity.start_ticks
        for each in reversed(self._exits):
            if each.pid == worker.namespace_pid and (
                each.ticks == ticks or (ticks == _UNKNOWN and self._is_new(each))
            ):
                return each
        return None

    def ticks_of(self, worker: Worker) -> int:
        """Return a worker's start time, also of one that was gone before it could be looked at."""
        told = self.of(worker) if worker.identity.start_ticks == _UNKNOWN else None
        return told.ticks if told else worker.identity.start_ticks

    def counted(self, worker: Worker, told: Exit | None) -> None:
        """Note that a worker's end is counted."""
        self._counted.append((worker.namespace_pid, told.ticks if told else worker.identity.start_ticks))

    def untold(self, before: float) -> Iterator[Exit]:
        """Yield ends that aren't counted, of workers that may never have been seen, up to a Unix time."""
        for each in self._exits:
            if is_masters_word(each) and each.time <= before and self._is_new(each):
                yield each

    def _is_new(self, told: Exit) -> bool:
        return (
            told.time > self.since
            and (told.pid, told.ticks) not in self._counted
            and (told.pid, _UNKNOWN) not in self._counted
        )


def _checked(told: Exit) -> Exit:
    """Return it if its fields are what they should be.

    Raises:
        TypeError: they aren't.
    """
    numbers = all(isinstance(each, int) for each in (told.pid, told.ticks, told.status or 0))
    texts = all(isinstance(each, str) for each in (*told.signals, told.order or "", told.stack or ""))
    if not (numbers and texts and isinstance(told.time, float | int)):
        raise TypeError(f"a record of {told.pid!r}")
    return told


def is_masters_word(told: Exit) -> bool:
    """Tell whether the worker's own master made the record, not a later one from the slab it found."""
    return told.status is not None or bool(told.signals)  # one that goes doesn't wait for whom it killed last


def in_flight(told: Exit | None) -> tuple[str, ...] | None:
    """Return the requests a worker was serving in words, None where that isn't known."""
    return tuple(f"{text}, {seconds:.1f} s" for text, seconds in told.in_flight) if told else None
