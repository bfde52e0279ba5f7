"""Real workers of the newest gunicorn, really killed, watched by a real floodmark."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.live import (
    Floodmark,
    Gunicorn,
    floodmark,
    gunicorn,
    memory_limited,
    recycle,
    to_master,
    until,
)

pytestmark = pytest.mark.live


class Case(NamedTuple):
    """How a worker is made to end, what it is then said to have died of, and gunicorn's flags for it."""

    kill: Callable[[Gunicorn], object]
    cause: str
    ends: int = 1
    workers: int = 2
    flags: tuple[str, ...] = ()


def stop_amid_a_request(app: Gunicorn) -> None:
    app.get("/stick-in-c?30", seconds=0.3)
    app.process.send_signal(signal.SIGTERM)


CASES = {
    "kill-9": Case(lambda app: os.kill(app.workers()[0], signal.SIGKILL), "external_kill"),
    "waits-in-python": Case(lambda app: app.get("/wait?30"), "timeout"),
    "sticks-in-c": Case(lambda app: app.get("/stick-in-c?30"), "timeout"),
    "segv": Case(lambda app: app.get(f"/signal?{signal.SIGSEGV:d}"), "crash_signal"),
    "abrt": Case(lambda app: os.kill(app.workers()[0], signal.SIGBUS), "crash_signal"),
    "exit-7": Case(lambda app: app.get("/exit?7"), "nonzero_exit"),
    "exit-0": Case(lambda app: app.get("/exit?0"), "exit_unrequested"),
    "term-from-outside": Case(lambda app: os.kill(app.workers()[0], signal.SIGTERM), "exit_unrequested"),
    "recycled": Case(recycle, "max_requests", workers=1, flags=("--max-requests", "20")),
    "reloaded": Case(to_master(signal.SIGHUP), "reload", ends=2),
    "scaled": Case(to_master(signal.SIGTTIN, signal.SIGTTOU), "scale_down"),
    "stopped": Case(to_master(signal.SIGTERM), "shutdown", ends=2),
    "overran": Case(
        stop_amid_a_request,
        "shutdown_kill",
        workers=1,
        flags=("--timeout", "30"),
    ),
}


class Host(NamedTuple):
    """What runs: an app for each case, and the floodmark that watches them."""

    apps: dict[str, Gunicorn]
    floodmark: Floodmark


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("host")
    with contextlib.ExitStack() as stack:
        apps = {
            name: stack.enter_context(gunicorn(name, folder, *case.flags, workers=case.workers))
            for name, case in CASES.items()
        }
        watcher = stack.enter_context(floodmark(folder))
        found = {line["app"] for line in watcher.lines() if line["msg"] == "gunicorn found"}
        assert {app.name for app in apps.values()} <= found
        yield Host(apps, watcher)


@pytest.mark.parametrize("name", CASES)
def test_a_real_death_is_judged_right_with_certainty_and_counted_once(name: str, host: Host) -> None:
    case, app = CASES[name], host.apps[name]
    case.kill(app)
    until(lambda: len(host.floodmark.ends(app.name)) >= case.ends, 15, f"{case.ends} ends of {name}")
    assert host.floodmark.ends(app.name) == [(case.cause, "confirmed")] * case.ends
    assert host.floodmark.exits(app.name) == {case.cause: case.ends}


def test_an_oom_kill_by_the_kernel_is_proven_with_its_size(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        cgroup = stack.enter_context(memory_limited("test", 128))
        app = stack.enter_context(gunicorn("oom", tmp_path, enter=cgroup.entering))
        watcher = stack.enter_context(floodmark(tmp_path))
        app.get("/keep?200")
        until(lambda: watcher.ends(app.name), 15, "the OOM kill is judged")
        assert watcher.ends(app.name) == [("oom_kill", "confirmed")]
        (line,) = (
            line for line in watcher.lines() if line["msg"] == "worker ended" and line["app"] == app.name
        )
        assert "kernel log: killed process" in line["evidence"]
        assert watcher.exits(app.name) == {"oom_kill": 1}
        assert watcher.values("gunicorn_worker_sigkills_total", app=app.name) == {(): 1}
        assert watcher.values("gunicorn_memory_limit_bytes", app=app.name) == {(): 128 << 20}


def test_a_restart_of_floodmark_loses_no_worker_and_invents_no_exit(tmp_path: Path) -> None:
    with gunicorn("kept", tmp_path, workers=3) as app:
        with floodmark(tmp_path) as first:
            before = first.values("gunicorn_worker_info", app=app.name)
            first.process.kill()
        with floodmark(tmp_path) as second:
            assert second.values("gunicorn_worker_info", app=app.name) == before
            assert {pid for pid, _ in before} == {str(pid) for pid in app.workers()}
            assert second.exits(app.name) == {}
            assert second.values("gunicorn_worker_boots_total", app=app.name) == {(): 0}


def test_a_replaced_worker_takes_its_slot_and_no_series_stays_behind(tmp_path: Path) -> None:
    with gunicorn("slots", tmp_path, workers=3) as app, floodmark(tmp_path) as watcher:
        for _ in range(3):
            victim = app.workers()[0]
            os.kill(victim, signal.SIGKILL)
            until(lambda: len(set(app.workers()) - {victim}) == 3, 5, "it is replaced")  # noqa: B023 - called here
        until(lambda: len(watcher.ends(app.name)) >= 3, 10, f"{len(watcher.ends(app.name))} of 3 are judged")
        assert watcher.exits(app.name) == {"external_kill": 3}
        pids = {str(pid) for pid in app.workers()}
        listed = until(
            lambda: {
                pid: slot for pid, slot in watcher.values("gunicorn_worker_info", app=app.name) if pid in pids
            },
            5,
            "the new workers are listed",
        )
        assert sorted(listed.values()) == ["0", "1", "2"]


def kills_logged(app: Gunicorn) -> int:
    return app.log.read_text().count("was sent SIGKILL")


def test_no_death_of_a_crash_loop_is_missed_or_counted_twice(tmp_path: Path) -> None:
    """Workers that die 0.1 s after their fork: most live too short for any look at /proc."""
    with gunicorn("loop", tmp_path, workers=2) as app, floodmark(tmp_path) as watcher:
        if watcher.values("floodmark_source_available", source="process_events") != {(): 1}:
            pytest.skip("process events can't be had here: short lives can be missed")
        killed = 0
        while killed < 60:
            for pid in app.workers():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
            workers = app.workers()
            until(lambda: app.workers() != workers, 5, "workers are replaced")  # noqa: B023 - called here
        until(lambda: watcher.exits(app.name) == {"external_kill": kills_logged(app)}, 15, "all are judged")
        time.sleep(2)  # longer than a verdict waits: one more would show by now
        assert watcher.exits(app.name) == {"external_kill": kills_logged(app)}


def test_without_any_right_it_serves_says_what_is_missing_and_never_claims_too_much(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can run a gunicorn that floodmark has no right to look into")
    rightless = ("setpriv", "--bounding-set", "-all")
    with gunicorn("walled", tmp_path) as app:
        os.chown(app.log, 65534, 65534)
        app.log.chmod(0o600)
        with floodmark(tmp_path, prefix=rightless) as watcher:
            assert len(watcher.values("gunicorn_worker_resident_memory_bytes", app=app.name)) == 2
            os.kill(app.workers()[0], signal.SIGKILL)
            until(lambda: watcher.ends(app.name), 15, "the kill is judged")
            assert watcher.ends(app.name) == [("sigkill_unknown", "possible")]
            assert watcher.values("floodmark_source_available", source="kernel_log") == {(): 0}
            said = [
                line for line in watcher.lines() if "grant" in line and line.get("app") in (None, app.name)
            ]
            lacks = {line["source"]: line for line in said}
            assert "CAP_SYSLOG" in lacks["kernel_log"]["grant"]
            assert "CAP_SYS_PTRACE" in lacks["heartbeat"]["grant"]
            assert f"{app.log}: Permission denied" in lacks["gunicorn_log"]["msg"]
            assert "chmod" in lacks["gunicorn_log"]["grant"]
            assert len(said) == len(lacks), "each lack is said once"


def test_of_a_kill_and_an_oom_kill_at_once_none_is_called_the_other_where_the_kernels_log_is_closed(
    tmp_path: Path,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has a right to give up here")
    with contextlib.ExitStack() as stack:
        cgroup = stack.enter_context(memory_limited("both", 128))
        app = stack.enter_context(gunicorn("both", tmp_path, enter=cgroup.entering))
        watcher = stack.enter_context(floodmark(tmp_path, prefix=("setpriv", "--bounding-set", "-all")))
        os.kill(app.workers()[0], signal.SIGKILL)
        app.get("/keep?200")
        until(lambda: len(watcher.ends(app.name)) >= 2, 15, "both are judged")
        # The counter rises for one of them and names none; by chance the kill is judged before it rises.
        assert sorted(watcher.ends(app.name)) in (
            [("sigkill_unknown", "possible")] * 2,
            [("external_kill", "confirmed"), ("oom_kill", "probable")],
        )
        by_pid = {
            line["pid"]: line["cause"]
            for line in watcher.lines()
            if line.get("app") == app.name and "cause" in line
        }
        first = min(by_pid, key=int)
        assert by_pid[first] != "oom_kill"
