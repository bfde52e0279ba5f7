"""What masters do, watched by a real floodmark: no exit missed, none counted twice, none invented."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.matrix import versions
from tests.support.live import Floodmark, Gunicorn, floodmark, gunicorn, until

pytestmark = pytest.mark.live

_LATE = 2.5  # seconds: longer than a verdict waits, one too many would show by then


def slots(watcher: Floodmark, app: Gunicorn) -> dict[int, int]:
    listed = watcher.values("gunicorn_worker_info", app=app.name)
    return {int(pid): int(slot) for pid, slot in listed}


def are_listed(watcher: Floodmark, app: Gunicorn, count: int) -> dict[int, int]:
    """Return the slots by pid once so many workers are listed, all of them live."""

    def find() -> dict[int, int]:
        found = slots(watcher, app)
        alive = all(Path(f"/proc/{pid}/fd").exists() and os.listdir(f"/proc/{pid}/fd") for pid in found)  # noqa: PTH208 - whether any
        return found if len(found) == count and alive else {}

    return until(find, 20, f"{count} workers are listed")


def boots(watcher: Floodmark, app: Gunicorn) -> float:
    (count,) = watcher.values("gunicorn_worker_boots_total", app=app.name).values()
    return count


def exits_are(watcher: Floodmark, app: Gunicorn, expected: dict[str, int]) -> None:
    until(lambda: watcher.exits(app.name) == expected, 20, f"{watcher.exits(app.name)} becomes {expected}")
    time.sleep(_LATE)
    assert watcher.exits(app.name) == expected


@contextlib.contextmanager
def stopped_at_last(pid: int) -> Iterator[None]:
    """Stop a process that isn't our child."""
    descriptor = os.pidfd_open(pid)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.close(descriptor)


def test_an_upgrade_has_two_masters_for_a_while_and_all_exits_are_told_once(tmp_path: Path) -> None:
    with gunicorn("upgraded", tmp_path) as app, floodmark(tmp_path) as watcher:
        old = are_listed(watcher, app, 2)
        app.process.send_signal(signal.SIGUSR2)
        both = are_listed(watcher, app, 4)
        assert old.items() <= both.items()
        assert sorted(both.values()) == [0, 1, 2, 3]
        assert boots(watcher, app) == 2
        found = [line for line in watcher.lines() if line["msg"] == "gunicorn found"]
        successor = int([line for line in found if line["app"] == app.name][-1]["pid"])
        assert successor != app.process.pid
        with stopped_at_last(successor):
            app.process.send_signal(signal.SIGTERM)
            exits_are(watcher, app, {"shutdown": 2})
            new = {pid: slot for pid, slot in both.items() if pid not in old}
            assert are_listed(watcher, app, 2) == new
            assert watcher.values("gunicorn_up", app=app.name) == {(): 1}

            victim = min(new)
            os.kill(victim, signal.SIGKILL)
            exits_are(watcher, app, {"shutdown": 2, "external_kill": 1})
            assert sorted(are_listed(watcher, app, 2).values()) == [0, max(new.values())]

            os.kill(successor, signal.SIGTERM)
            exits_are(watcher, app, {"shutdown": 4, "external_kill": 1})
            assert watcher.values("gunicorn_up", app=app.name) == {(): 0}


def test_scaling_leaves_the_other_workers_their_slots(tmp_path: Path) -> None:
    with gunicorn("scaled", tmp_path) as app, floodmark(tmp_path) as watcher:
        two = are_listed(watcher, app, 2)
        app.process.send_signal(signal.SIGTTIN)
        three = are_listed(watcher, app, 3)
        assert two.items() < three.items()
        app.process.send_signal(signal.SIGTTOU)
        exits_are(watcher, app, {"scale_down": 1})
        remaining = are_listed(watcher, app, 2)
        assert remaining.items() < three.items()
        app.process.send_signal(signal.SIGTTIN)
        again = are_listed(watcher, app, 3)
        assert remaining.items() < again.items()
        assert sorted(again.values()) == [0, 1, 2]
        assert boots(watcher, app) == 2


def test_of_a_hundred_workers_killed_by_the_dozen_none_is_missed(tmp_path: Path) -> None:
    with gunicorn("hundred", tmp_path, "--timeout", "60", workers=100) as app, floodmark(tmp_path) as watcher:
        before = are_listed(watcher, app, 100)
        assert sorted(before.values()) == list(range(100))
        victims = sorted(before)[::2]
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        exits_are(watcher, app, {"external_kill": 50})
        after = are_listed(watcher, app, 100)
        assert sorted(after.values()) == list(range(100))
        assert {pid: slot for pid, slot in before.items() if pid not in victims}.items() <= after.items()
        assert boots(watcher, app) == 50


def test_a_crash_loop_of_ten_boots_a_second_is_counted_exactly(tmp_path: Path) -> None:
    short_lived = tmp_path / "short-lived"

    def looping(command: list[str]) -> list[str]:
        return ["env", f"KILLABLE_SHORT_LIVED={short_lived}", *command]

    with gunicorn("crashing", tmp_path, enter=looping) as app, floodmark(tmp_path) as watcher:
        if watcher.values("floodmark_source_available", source="process_events") != {(): 1}:
            pytest.skip("process events can't be had here: short lives can be missed")

        def crashes() -> int:
            return app.log.read_text().count("exited with code 7.")

        short_lived.touch()
        for pid in app.workers():
            os.kill(pid, signal.SIGTERM)
        until(lambda: crashes() >= 60, 60, f"{crashes()} of 60 crashes")
        short_lived.unlink()
        until(lambda: watcher.exits(app.name).get("nonzero_exit") == crashes(), 20, "all are judged")
        exits_are(watcher, app, {"exit_unrequested": 2, "nonzero_exit": crashes()})
        assert boots(watcher, app) == crashes() + 2
        assert sorted(are_listed(watcher, app, 2).values()) == [0, 1]


HOOKS = """
import os, subprocess, time

def when_ready(server):
    if os.fork() == 0:
        while not os.path.exists(os.environ["HOOK_ENDS"]):
            time.sleep(0.1)
        os._exit(0)

def on_reload(server):
    subprocess.run(["sleep", "0.2"])

def child_exit(server, worker):
    subprocess.run(["true"])
"""


def test_what_a_masters_hooks_start_is_no_worker(tmp_path: Path) -> None:
    hooks = tmp_path / "hooks.py"
    hooks.write_text(HOOKS)
    ends = tmp_path / "ends"

    def hooked(command: list[str]) -> list[str]:
        return ["env", f"HOOK_ENDS={ends}", *command]

    with (
        gunicorn("hooked", tmp_path, "--config", str(hooks), enter=hooked) as app,
        floodmark(tmp_path) as watcher,
    ):
        assert len(app.workers()) == 3, "the hook's child is there"
        workers = are_listed(watcher, app, 2)
        (other,) = set(app.workers()) - set(workers)
        os.kill(min(workers), signal.SIGKILL)
        ends.touch()
        until(lambda: other not in app.workers(), 20, "the hook's child has ended")
        exits_are(watcher, app, {"external_kill": 1})
        app.process.send_signal(signal.SIGHUP)
        exits_are(watcher, app, {"external_kill": 1, "reload": 2})
        assert boots(watcher, app) == 3


DIRTY_APP = """
from gunicorn.dirty.app import DirtyApp

class Idle(DirtyApp):
    pass
"""


def test_the_dirty_arbiter_and_its_workers_are_no_workers(tmp_path: Path) -> None:
    (tmp_path / "idle_dirty.py").write_text(DIRTY_APP)
    flags = ("--pythonpath", str(tmp_path), "--dirty-app", "idle_dirty:Idle", "--dirty-workers", "1")
    with gunicorn("dirty", tmp_path, *flags) as app, floodmark(tmp_path) as watcher:
        assert len(app.workers()) == 3, "the dirty arbiter is there"
        are_listed(watcher, app, 2)
        app.process.send_signal(signal.SIGTERM)
        exits_are(watcher, app, {"shutdown": 2})


def test_a_gunicorn_with_process_titles_is_watched_with_settings_unknown(tmp_path: Path) -> None:
    try:
        library = versions.titles()
    except subprocess.CalledProcessError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"setproctitle can't be had here: {error}")

    def titled(command: list[str]) -> list[str]:
        return ["env", f"PYTHONPATH={library}", *command]

    with contextlib.ExitStack() as stack:
        app = stack.enter_context(gunicorn("titled", tmp_path, enter=titled))
        assert Path(f"/proc/{app.process.pid}/cmdline").read_text().startswith("gunicorn: master [")
        config = tmp_path / "floodmark.yml"
        config.write_text(f"apps:\n  {app.name}: {{log: {app.log}}}\n")
        watcher = stack.enter_context(floodmark(tmp_path))
        told = stack.enter_context(floodmark(tmp_path, "--config", str(config)))
        workers = are_listed(watcher, app, 2)
        assert watcher.values("gunicorn_config", app=app.name) == {}
        os.kill(min(workers), signal.SIGKILL)
        exits_are(watcher, app, {"sigkill_unknown": 1})  # neither timeout nor log are known
        exits_are(told, app, {"external_kill": 1})
        assert are_listed(watcher, app, 2).items() >= {max(workers): workers[max(workers)]}.items()


def test_gunicorns_side_by_side_are_kept_apart(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        apps = [stack.enter_context(gunicorn(f"beside{number}", tmp_path)) for number in range(3)]
        watcher = stack.enter_context(floodmark(tmp_path))
        os.kill(apps[0].workers()[0], signal.SIGKILL)
        apps[1].process.send_signal(signal.SIGHUP)
        exits_are(watcher, apps[0], {"external_kill": 1})
        exits_are(watcher, apps[1], {"reload": 2})
        exits_are(watcher, apps[2], {})
        for app in (apps[0], apps[2]):
            assert sorted(are_listed(watcher, app, 2).values()) == [0, 1]
        assert len(set(are_listed(watcher, apps[1], 2).values())) == 2
