"""Real gunicorns that recycle and lose their workers, and a real floodmark that merges what they leave."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import signal
import threading
from typing import TYPE_CHECKING

import pytest
import requests
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text

from floodmark.multiproc import KEPT_PIDS
from tests.support.live import floodmark, gunicorn, until
from tests.support.multiproc import collected, expected, page, without, workers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.live import Floodmark, Gunicorn

pytestmark = pytest.mark.live

APP = "tests.support.counting:app"
TOTAL = ("counter", "Requests.", "shop_requests_total", frozenset({("path", "/")}))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "prometheus"
    folder.mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder))
    return folder


def scraped(watcher: Floodmark) -> str:
    answer = requests.get(f"http://127.0.0.1:{watcher.port}/apps/shop/metrics", timeout=10)
    assert answer.ok, answer.text
    return answer.text


@contextlib.contextmanager
def watching(tmp_path: Path, folder: Path, prefix: tuple[str, ...] = ()) -> Iterator[Floodmark]:
    """Run a floodmark that has looked at the folder once."""
    file = tmp_path / "floodmark.yml"
    file.write_text(f"apps: {{shop: {{prometheus_multiproc_dir: {folder}}}}}")
    with floodmark(tmp_path, "--config", str(file), prefix=prefix) as watcher:
        url = f"http://127.0.0.1:{watcher.port}/apps/shop/metrics"
        until(lambda: requests.get(url, timeout=10).ok, 40, "the folder is merged for the first time")
        yield watcher


def visited(app: Gunicorn, times: int) -> int:
    """Visit, and return how often it was answered."""
    answered = 0
    for _ in range(times):
        try:
            answered += requests.get(f"http://127.0.0.1:{app.port}/", timeout=20).ok
        except requests.ConnectionError:
            continue
    return answered


def pids(folder: Path) -> set[int]:
    """Return whose files are there, but for the gauges that outlive their process."""
    names = [path.stem for path in folder.glob("*.db")]
    return {int(stem.rpartition("_")[2]) for stem in names if "floodmark" not in stem and "_all" not in stem}


def test_what_recycled_and_killed_workers_counted_is_kept_to_the_last_one_in_one_file(
    tmp_path: Path, folder: Path
) -> None:
    sent, answered = 0, 0
    recycling = ("--max-requests", "7", "--max-requests-jitter", "3")
    with gunicorn("multiproc", tmp_path, *recycling, workers=3, target=APP) as app:
        for _ in range(6):
            answered += visited(app, 25)
            sent += 25
            os.kill(until(app.workers, 20, "a worker is there to be killed")[0], signal.SIGKILL)
    dead = pids(folder)
    assert len(dead) > KEPT_PIDS
    said = expected(folder, tmp_path, dead)
    with watching(tmp_path, folder) as watcher:
        assert pids(folder) == set()
        kept = collected(folder)
        assert without(kept, "shop_all") == without(said, "shop_all")
        assert len(kept) - len(without(kept, "shop_all")) == KEPT_PIDS
        assert page(text(scraped(watcher))) == kept
        assert answered <= kept[TOTAL] <= sent
        # The app starts anew in the same folder: floodmark takes in what dies, and lets the living be.
        with gunicorn("multiproc", tmp_path, *recycling, target=APP) as app:
            answered += visited(app, 40)
            sent += 40
            until(lambda: pids(folder) and not pids(folder) - set(app.workers()), 40, "the dead are merged")
            total = page(text(scraped(watcher)))[TOTAL]
            assert answered <= total <= sent
            own = requests.get(f"http://127.0.0.1:{app.port}/metrics", timeout=10).text
            assert f'shop_requests_total{{path="/"}} {total}' in own


def test_a_scrape_while_workers_die_and_are_merged_never_goes_back(tmp_path: Path, folder: Path) -> None:
    seen: list[float] = []
    stop = threading.Event()
    with (
        gunicorn("multiproc-flat", tmp_path, "--max-requests", "5", target=APP) as app,
        watching(tmp_path, folder) as watcher,
    ):

        def scrape() -> None:
            while not stop.wait(0.01):
                seen.append(page(text(scraped(watcher))).get(TOTAL, 0))

        scraping = threading.Thread(target=scrape)
        scraping.start()
        try:
            visited(app, 60)
            until(lambda: not pids(folder) - set(app.workers()), 40, "it merges")
        finally:
            stop.set()
            scraping.join()
    assert seen == sorted(seen)
    assert seen[-1] > 50


def test_the_page_is_served_as_metrics_is(tmp_path: Path, folder: Path) -> None:
    workers(folder, 3)
    with watching(tmp_path, folder) as watcher:
        url = f"http://127.0.0.1:{watcher.port}/apps/shop/metrics"
        plain = requests.get(url, headers={"Accept-Encoding": "identity"}, timeout=10)
        assert plain.headers["Content-Type"].startswith("text/plain; version=")
        zipped = requests.get(url, headers={"Accept-Encoding": "gzip"}, timeout=10, stream=True)
        assert gzip.decompress(zipped.raw.read()) == plain.content
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        assert page(openmetrics(requests.get(url, headers=accept, timeout=10).text)) == collected(folder)
        assert "/apps/" in requests.get(f"http://127.0.0.1:{watcher.port}/apps/blog/metrics", timeout=10).text
        index = requests.get(f"http://127.0.0.1:{watcher.port}/", timeout=10).text
        assert 'href="apps/shop/metrics"' in index
        shutil.rmtree(folder)
        gone = requests.get(url, timeout=10)
        assert gone.status_code == 503
        assert "No such file" in gone.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give the files to another user")
@pytest.mark.parametrize("missing", ["lease", "dac_override"])
def test_without_the_right_to_merge_it_serves_and_says_once_what_grants_it(
    tmp_path: Path, folder: Path, missing: str
) -> None:
    workers(folder, 3)
    for path in (folder, *folder.iterdir()):
        os.chown(path, 33, 33)
    before = {path.name for path in folder.iterdir()}
    said = collected(folder)
    # Root that lacks one capability, beside an app of another user.
    lacking = ("setpriv", "--inh-caps=-all", f"--bounding-set=-{missing}")
    with watching(tmp_path, folder, lacking) as watcher:
        assert page(text(scraped(watcher))) == said
        (line,) = [line for line in watcher.lines() if line.get("source") == "prometheus_multiproc_dir"]
        assert watcher.values("floodmark_source_available", source="prometheus_multiproc_dir") == {(): 0}
    assert {path.name for path in folder.iterdir()} == before
    assert "CAP_LEASE" in line["grant"]
