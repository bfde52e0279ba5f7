"""Runs the collectors: each is timed, and one that fails takes none of the others with it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from floodmark import __version__, catalogue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from floodmark.collectors import Collector
    from floodmark.facts import Facts
    from floodmark.metric import Sample

log = logging.getLogger(__name__)


class Scrape:
    """One call makes one page's worth of samples, from every collector.

    A failure is logged when it begins, when its reason changes and when it ends, not at each scrape.
    """

    def __init__(
        self,
        collectors: Sequence[Collector],
        facts: Facts,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._collectors = collectors
        self._facts = facts
        self._timer = timer
        self._failures: dict[str, str] = {}

    def __call__(self) -> Iterator[Sample]:
        """Yield the samples of all collectors, then how each of them did."""
        yield catalogue.BUILD_INFO(1, version=__version__)
        for collector in self._collectors:
            start = self._timer()
            try:
                # Complete before any is yielded: half a collector's samples would look like the whole.
                samples = list(collector.collect(self._facts))
            except Exception as error:  # noqa: BLE001 - a broken collector must never hide the others
                samples = []
                self._failed(collector.name, f"{type(error).__name__}: {error}")
                success = 0
            else:
                self._worked(collector.name)
                success = 1
            yield from samples
            seconds = self._timer() - start
            yield catalogue.COLLECTOR_DURATION(seconds, collector=collector.name)
            yield catalogue.COLLECTOR_SUCCESS(success, collector=collector.name)

    def _failed(self, name: str, reason: str) -> None:
        if self._failures.get(name) != reason:
            self._failures[name] = reason
            log.error("collector failed; all others go on", extra={"collector": name, "reason": reason})

    def _worked(self, name: str) -> None:
        if self._failures.pop(name, None) is not None:
            log.info("collector works again", extra={"collector": name})
