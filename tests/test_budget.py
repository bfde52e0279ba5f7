"""floodmark runs beside the app on a 1 GiB host."""

from pathlib import Path

import psutil
import pytest

from tests.support.live import floodmark, gunicorn

pytestmark = pytest.mark.live


@pytest.mark.parametrize("flags", [(), ("--logger-class=floodmark.agent.Logger",)], ids=["outside", "agent"])
def test_the_exporter_stays_within_32_mib_with_8_workers_after_100_scrapes(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    with gunicorn("budget", tmp_path, *flags, workers=8) as app, floodmark(tmp_path) as watcher:
        for _ in range(100):
            assert len(watcher.values("gunicorn_worker_info", app=app.name)) == 8
        assert psutil.Process(watcher.process.pid).memory_info().rss <= 32 << 20
