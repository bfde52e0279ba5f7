"""A part of the matrix that has everything in it; ``make matrix`` plays the whole."""

import os
import subprocess
from typing import NoReturn

import pytest

from deploy.demo import memory_cgroup
from tests.matrix import versions
from tests.matrix.deaths import CLASSES, DEATHS
from tests.matrix.play import ALL_SOURCES, INVENTED, MISSED, VIEWS, Cell, Judged, cells, part, play, wrong

CELL = Cell("27.0.1", "sync", "kill-9")
OTHER_VIEW = tuple(VIEWS)[-1]


def judged(view: str, verdict: str, confidence: str, truth: str = "kill -9") -> Judged:
    return Judged(CELL, view, truth, "external_kill", verdict, confidence, "")


@pytest.mark.parametrize(
    ("verdict", "is_wrong"),
    [
        (judged(ALL_SOURCES, "external_kill", "confirmed"), False),
        (judged(ALL_SOURCES, "sigkill_unknown", "possible"), True),
        (judged(OTHER_VIEW, "sigkill_unknown", "possible"), False),
        (judged(OTHER_VIEW, "timeout", "probable"), False),
        (judged(OTHER_VIEW, "timeout", "confirmed"), True),
        (judged(OTHER_VIEW, MISSED, ""), True),
        (judged(OTHER_VIEW, "unknown", "possible", truth=INVENTED), True),
    ],
)
def test_a_view_may_know_less_but_not_claim_miss_or_invent(verdict: Judged, *, is_wrong: bool) -> None:
    assert bool(wrong([verdict])) is is_wrong


def test_the_part_that_is_played_here_has_each_death_class_and_version() -> None:
    assert set(part()) <= set(cells())
    assert {cell.death for cell in part()} == set(DEATHS)
    assert {cell.worker_class for cell in part()} == set(CLASSES)
    assert {cell.version for cell in part()} == set(versions.VERSIONS)


def missing(why: str) -> NoReturn:
    """Skip; where the machine is there for these tests, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


@pytest.mark.live
def test_real_deaths_of_all_classes_and_versions_are_judged_right() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can take rights away, and make the cgroups that workers are killed in")
    try:
        for version in versions.VERSIONS:
            versions.program(version)
        memory_cgroup.make(f"floodmark-tried-{os.getpid()}", 1 << 30).remove()
    except (subprocess.CalledProcessError, memory_cgroup.NoCgroupError) as error:
        missing(f"not all of the matrix can be played here: {error}")
    assert wrong(play(part())) == []
