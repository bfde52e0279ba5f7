"""A broken collector takes none of the others with it."""

import logging
from collections.abc import Iterator
from typing import cast

import pytest

from floodmark import catalogue
from floodmark.collectors import Collector
from floodmark.facts import Facts
from floodmark.metric import Metric, Sample
from floodmark.scrape import Scrape

NO_FACTS = cast("Facts", None)


def good(_: Facts) -> Iterator[Sample]:
    yield catalogue.LOAD1(1.5)


def half(_: Facts) -> Iterator[Sample]:
    yield catalogue.LOAD5(1.0)
    raise ValueError("meminfo: got 'rubbish'")


def values(scrape: Scrape) -> dict[tuple[Metric, tuple[str, ...]], object]:
    return {(sample.metric, sample.labels): sample.value for sample in scrape()}


def test_a_failing_collector_is_marked_and_the_others_samples_are_there() -> None:
    seen = values(Scrape([Collector("half", half), Collector("good", good)], NO_FACTS))
    assert seen[catalogue.LOAD1, ()] == 1.5
    assert seen[catalogue.COLLECTOR_SUCCESS, ("half",)] == 0
    assert seen[catalogue.COLLECTOR_SUCCESS, ("good",)] == 1


def test_half_of_a_collectors_samples_are_never_shown_as_the_whole() -> None:
    assert (catalogue.LOAD5, ()) not in values(Scrape([Collector("half", half)], NO_FACTS))


def test_a_failure_is_logged_once_and_its_end_once(caplog: pytest.LogCaptureFixture) -> None:
    broken = True

    def sometimes(_: Facts) -> Iterator[Sample]:
        if broken:
            raise OSError("gone")
        yield catalogue.LOAD1(1)

    scrape = Scrape([Collector("sometimes", sometimes)], NO_FACTS)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            list(scrape())
        broken = False
        for _ in range(3):
            list(scrape())
    assert [record.getMessage() for record in caplog.records] == [
        "collector failed; all others go on",
        "collector works again",
    ]


def test_each_collectors_time_is_told() -> None:
    ticks = iter(range(10))
    scrape = Scrape([Collector("good", good)], NO_FACTS, timer=lambda: float(next(ticks)))
    assert values(scrape)[catalogue.COLLECTOR_DURATION, ("good",)] == 1.0
