"""A real floodmark that stops and starts again while real workers die: each death is counted once."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from floodmark import state
from tests.support.live import Floodmark, Gunicorn, floodmark, gunicorn, memory_limited, until

pytestmark = pytest.mark.live

LATER = 2.0  # seconds: longer than a verdict waits, so that one too many would show


@contextlib.contextmanager
def again(folder: Path, *flags: str) -> Iterator[Floodmark]:
    """Run a floodmark that keeps its state in a folder of the test."""
    with floodmark(folder, "--state-dir", str(folder / "state"), *flags) as running:
        yield running


def killed(running: Floodmark) -> None:
    """End floodmark as the kernel's OOM killer would: it can't write anything any more."""
    running.process.kill()
    running.process.wait()


def restarts(folder: Path, app: Gunicorn, exits: dict[str, int], times: int = 3) -> list[dict[str, Any]]:
    """Start floodmark several times, each must count just these exits; return the app's death records."""
    for number in range(times):
        with again(folder) as running:
            until(lambda: running.exits(app.name) == exits, 15, f"{exits} after {number} restarts")
            time.sleep(LATER)
            assert running.exits(app.name) == exits
            records = deaths(running, app)
            if number == times - 1:
                assert not [line for line in running.lines() if "traceback" in line]
            else:
                killed(running)
    return records


def deaths(running: Floodmark, app: Gunicorn) -> list[dict[str, Any]]:
    """Return an app's death records as ``floodmark why --json`` prints them."""
    command = [str(Path(sys.executable).with_name("floodmark")), "why", "--json", "--last", "200"]
    url = f"http://127.0.0.1:{running.port}"
    done = subprocess.run(
        [*command, "--url", url, "--app", app.name], capture_output=True, text=True, check=True, timeout=20
    )
    records: list[dict[str, Any]] = json.loads(done.stdout)["deaths"]
    return records


def kept_deaths(folder: Path, app: Gunicorn) -> int | None:
    """Return how many death records of an app are in the state file, None where it doesn't know the app."""
    kept = state.read(folder / "state")
    if kept is None or app.name not in kept.tallies:
        return None
    return sum(death.app == app.name for death in kept.deaths)


def replaced(app: Gunicorn, workers: list[int]) -> None:
    until(lambda: len(set(app.workers()) - set(workers)) > 0, 15, "a worker is replaced")


def logged(app: Gunicorn, words: str, times: int = 1) -> None:
    until(lambda: app.log.read_text().count(words) >= times, 15, f"{words} is logged")


def test_each_death_while_it_was_down_is_recovered_once_with_its_cause(tmp_path: Path) -> None:
    with gunicorn("down", tmp_path, workers=3) as app:
        with again(tmp_path) as first:
            os.kill(app.workers()[0], signal.SIGKILL)
            until(lambda: first.exits(app.name) == {"external_kill": 1}, 15, "the first is judged")
            until(lambda: kept_deaths(tmp_path, app) == 1, 15, "it is kept")
            killed(first)
        app.get("/wait?30")
        logged(app, "WORKER TIMEOUT")
        app.get("/exit?7")
        logged(app, "exited with code 7")
        newborn = app.workers()
        os.kill(newborn[-1], signal.SIGKILL)  # born while floodmark was down
        logged(app, f"(pid:{newborn[-1]}) was sent SIGKILL")
        replaced(app, newborn)
        exits = {"external_kill": 2, "timeout": 1, "nonzero_exit": 1}
        records = restarts(tmp_path, app, exits)
        causes = sorted((record["cause"], record["recovered"]) for record in records)
        assert causes == [
            ("external_kill", False),
            ("external_kill", True),
            ("nonzero_exit", True),
            ("timeout", True),
        ]
        with again(tmp_path) as last:
            assert last.values("floodmark_deaths_recovered_total", app=app.name) == {(): 3}
            assert last.values("gunicorn_worker_boots_total", app=app.name) == {(): 4}
            slots = last.values("gunicorn_worker_info", app=app.name)
            assert sorted(slot for _, slot in slots) == ["0", "1", "2"]


def test_workers_recycled_while_it_was_down_are_no_deaths(tmp_path: Path) -> None:
    with gunicorn("recycled-down", tmp_path, "--max-requests", "5", workers=1) as app:
        with again(tmp_path) as first:
            before = first.values("gunicorn_worker_info", app=app.name)
            assert len(before) == 1
        for _ in range(3):
            workers = app.workers()
            while app.workers() == workers:
                app.get("/")
        logged(app, "Booting", 4)
        assert restarts(tmp_path, app, {"max_requests": 3}) == []


def test_an_oom_kill_while_it_was_down_is_proven_by_the_kernels_log(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        cgroup = stack.enter_context(memory_limited("down", 128))
        app = stack.enter_context(gunicorn("oom-down", tmp_path, enter=cgroup.entering))
        with again(tmp_path) as first:
            if first.values("floodmark_source_available", source="kernel_log") != {(): 1}:
                pytest.skip("the kernel's log can't be read here")
        app.get("/keep?200")
        until(lambda: cgroup.oom_kills() > 0, 15, "the kernel kills")
        (record,) = restarts(tmp_path, app, {"oom_kill": 1})
        assert (record["confidence"], record["recovered"]) == ("confirmed", True)
        assert record["circumstances"]["limit_bytes"] == 128 << 20


def test_an_app_that_was_stopped_while_it_was_down_has_no_unwanted_death(tmp_path: Path) -> None:
    with gunicorn("stopped-down", tmp_path, workers=2) as app, again(tmp_path) as first:
        until(lambda: kept_deaths(tmp_path, app) == 0, 15, "the app is kept")
        killed(first)
    assert restarts(tmp_path, app, {"shutdown": 2}) == []
    with again(tmp_path) as last:
        assert last.values("gunicorn_up", app=app.name) == {(): 0}


def test_a_corrupt_state_costs_the_state_alone_and_is_kept_aside(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / state.NAME).write_bytes(b"\0" * 512)
    with gunicorn("corrupt", tmp_path) as app, again(tmp_path) as running:
        assert len(running.values("gunicorn_worker_info", app=app.name)) == 2
        (said,) = [line for line in running.lines() if line.get("source") == "state" and "grant" in line]
        assert "is corrupt" in said["msg"]
        assert [path.read_bytes() for path in folder.glob(f"{state.NAME}.unusable-*")] == [b"\0" * 512]
        until(lambda: state.read(folder), 15, "a new state begins")


def test_a_full_disk_costs_the_state_alone_and_is_said_once(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("no file system may be mounted here")
    try:
        (folder / "full").write_bytes(b"\0" * 4096)
        with gunicorn("full", tmp_path) as app, again(tmp_path) as running:
            name = "floodmark_source_available"
            until(lambda: running.values(name, source="state") == {(): 0}, 15, "it is noticed")
            os.kill(app.workers()[0], signal.SIGKILL)
            until(lambda: running.exits(app.name) == {"external_kill": 1}, 15, "the exporter goes on")
            time.sleep(2 * LATER)
            said = [line for line in running.lines() if line.get("source") == "state"]
            assert [line["msg"] for line in said] == [
                "the state file can't be written: No space left on device"
            ]
            (folder / "full").unlink()
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
