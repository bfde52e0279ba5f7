"""Counts of real workers that are recycled and killed, against what real clients saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from floodmark.agent import ledger
from tests.support import storm
from tests.support.live import gunicorn

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.live

AGENT = ("--logger-class", "floodmark.agent.Logger")


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLOODMARK_AGENT_DIR", str(tmp_path))
    return tmp_path


def test_requests_of_recycled_and_killed_workers_are_counted_once_each(base: Path) -> None:
    flags = (*AGENT, "--worker-class", "gthread", "--threads", "16", "--max-requests", "200")
    with gunicorn("storm", base, *flags, "--max-requests-jitter", "50", workers=3) as running:
        seen = storm.Seen()
        storm.storm(running, seen, 6000, kill_every=0.4)
        folder = storm.agent_folder(base, running.name)
        storm.wait_settled(running, folder)
        counted = storm.counted(folder)
        assert seen.kills
        assert seen.answered.total() + seen.cut_off == 6000
        assert counted["200"] <= seen.answered[200] + seen.cut_off
        assert seen.answered.total() <= counted.total() <= seen.answered.total() + seen.cut_off
        assert {each.status for each in ledger.exits(str(folder))} >= {0, 9}
        assert storm.disk(folder) <= 3 * 64 << 10
    assert [path.name for path in folder.iterdir()] == ["ledger"], "the last workers are folded too"
    assert storm.counted(folder).total() == counted.total()
