"""A real app that leaks what its collector can't free: the live set after full collections says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.live import floodmark, gunicorn, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.live

APP = """
import gc
kept = []
def app(environ, start_response):
    if environ["PATH_INFO"] == "/leak":
        kept.append([[number] for number in range(20_000)])
    else:
        garbage = [[number] for number in range(20_000)]
    gc.collect()
    start_response("200 OK", [])
    return [b"ok"]
"""


def test_the_live_set_grows_with_a_leak_and_stands_still_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "leaking.py").write_text(APP)
    monkeypatch.setenv("FLOODMARK_AGENT_DIR", str(tmp_path))
    flags = ("--logger-class", "floodmark.agent.Logger", "--pythonpath", str(tmp_path))
    with (
        gunicorn("heap", tmp_path, *flags, workers=1, target="leaking:app") as app,
        floodmark(tmp_path) as told,
    ):

        def live() -> float:
            return told.values("python_heap_live_blocks", app=app.name).get(("0",), 0.0)

        def collections() -> float:
            return told.values("python_gc_collections_total", app=app.name, generation="2").get(("0",), 0.0)

        def ask(path: str, times: int) -> float:
            before = collections()
            for _ in range(times):
                app.get(path)
            until(lambda: collections() >= before + times, 10, "the collections are told")
            return live()

        first = ask("/", 2)
        still = ask("/", 5)
        grown = ask("/leak", 5)
        assert abs(still - first) < 5_000
        assert 2 <= (grown - still) / (5 * 20_000) < 4  # a list, its place for items, and mostly a number
        pauses = told.values("python_gc_pause_seconds_count", app=app.name, generation="2")
        assert pauses == {(): 12.0}
