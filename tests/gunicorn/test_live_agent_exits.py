"""Real workers, really killed, where the agent is all there is: no rights, no log, no control socket.

Their app is told its number in a query string, which must be nowhere in what is kept.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from floodmark import state
from floodmark.agent import ledger
from floodmark.gunicorn.deaths import Death, from_json
from tests.support.live import (
    BIN,
    ROOT,
    Floodmark,
    Gunicorn,
    floodmark,
    free_port,
    memory_limited,
    recycle,
    to_master,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.live

# Gunicorn is root with all rights: one without any looks at another user's processes.
NO_RIGHTS = ("setpriv", "--bounding-set", "-all")


class Case(NamedTuple):
    """How workers are made to end, and what each of them is then said to have died of."""

    kill: Callable[[Gunicorn], object]
    cause: str
    ends: int = 1
    workers: int = 1
    flags: tuple[str, ...] = ()
    confidence: str = "confirmed"
    doing: str | None = None
    function: str | None = None


@contextlib.contextmanager
def silent_gunicorn(
    name: str,
    folder: Path,
    *flags: str,
    workers: int = 1,
    enter: Callable[[list[str]], list[str]] = list,
    environ: dict[str, str] | None = None,
) -> Iterator[Gunicorn]:
    """Run gunicorn with the agent and no other way to tell anything, until it answers."""
    port = free_port()
    name = f"agent-{name}-{port}"
    command = [
        *(str(BIN / "gunicorn"), "tests.support.killable:app", "--chdir", str(ROOT), "--name", name),
        *("--bind", f"127.0.0.1:{port}", "--workers", str(workers), "--graceful-timeout", "1"),
        *("--error-logfile", "/dev/null", "--log-level", "critical", "--no-control-socket"),
        *("--logger-class", "floodmark.agent.Logger", "--timeout", "2", *flags),
    ]
    counts = ledger.folder_of("/dev/shm", name)  # noqa: S108 - where it is looked for without rights
    # A group of its own: what a terminal and systemd tell, they tell all of it.
    with subprocess.Popen(
        enter(command), env=os.environ | (environ or {}), start_new_session=True
    ) as process:
        app = Gunicorn(name, port, folder / "none.log", process)
        try:
            until(lambda: answers(port), 30, f"{name} answers")
            until(lambda: len(app.workers()) == workers, 10, f"{name} has its workers")
            yield app
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(20)
            shutil.rmtree(counts)


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    return False


def amid_a_request(path: str, act: Callable[[Gunicorn], object]) -> Callable[[Gunicorn], None]:
    def kill(app: Gunicorn) -> None:
        threading.Thread(target=app.get, args=(path,), daemon=True).start()
        until(lambda: in_flight(app), 10, f"{path} is being served")
        act(app)

    return kill


def in_flight(app: Gunicorn) -> bool:
    folder = ledger.folder_of("/dev/shm", app.name)  # noqa: S108 - as above
    return any(seen.in_flight() for _, seen in ledger.slabs(folder))


def kill_9(app: Gunicorn) -> None:
    os.kill(app.workers()[0], signal.SIGKILL)


def stop(app: Gunicorn) -> None:
    app.process.send_signal(signal.SIGTERM)


def stop_all_at_once(app: Gunicorn) -> None:
    os.killpg(app.process.pid, signal.SIGTERM)


LONG = ("--timeout", "60")
CASES = {
    "waits": Case(lambda app: app.get("/wait?30"), "timeout", doing="GET /wait", function="app"),
    "in-c": Case(
        lambda app: app.get("/hold-gil?7", 9), "timeout", doing="GET /hold-gil", function="_hold_gil"
    ),
    "kill-9": Case(amid_a_request("/wait?31", kill_9), "external_kill", flags=LONG, doing="GET /wait"),
    "segv": Case(
        lambda app: app.get(f"/signal?{signal.SIGSEGV:d}"),
        "crash_signal",
        doing="GET /signal",
        function="<lambda>",
    ),
    "exit-7": Case(lambda app: app.get("/exit?7"), "nonzero_exit", doing="GET /exit"),
    "exit-0": Case(lambda app: app.get("/exit?0"), "exit_unrequested", doing="GET /exit"),
    "term-from-outside": Case(lambda app: os.kill(app.workers()[0], signal.SIGTERM), "exit_unrequested"),
    "recycled": Case(recycle, "max_requests", flags=("--max-requests", "20")),
    "reloaded": Case(to_master(signal.SIGHUP, seconds=10), "reload", ends=2, workers=2),
    "scaled": Case(to_master(signal.SIGTTIN, signal.SIGTTOU, seconds=10), "scale_down", workers=2),
    "stopped": Case(stop, "shutdown", ends=2, workers=2),
    "stopped-with-its-workers": Case(stop_all_at_once, "shutdown", ends=2, workers=2),
    "overran": Case(amid_a_request("/hold-gil?8", stop), "shutdown_kill", flags=LONG, doing="GET /hold-gil"),
}


class Host(NamedTuple):
    """What runs: an app for each case, and the floodmark without rights that watches them."""

    apps: dict[str, Gunicorn]
    floodmark: Floodmark


def without_logs(folder: Path, *apps: Gunicorn) -> str:
    """Return a configuration that closes these apps' logs to floodmark, /dev/null as they are."""
    path = folder / "floodmark.yml"
    path.write_text("apps:\n" + "".join(f"  {app.name}: {{log: /nonexistent}}\n" for app in apps))
    return str(path)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    if os.geteuid() != 0:
        pytest.skip("only root has rights to take away")
    folder = tmp_path_factory.mktemp("host")
    with contextlib.ExitStack() as stack:
        apps = {
            name: stack.enter_context(silent_gunicorn(name, folder, *case.flags, workers=case.workers))
            for name, case in CASES.items()
        }
        config = without_logs(folder, *apps.values())
        watcher = stack.enter_context(floodmark(folder, "--config", config, prefix=NO_RIGHTS))
        yield Host(apps, watcher)


def deaths(watcher: Floodmark, app: Gunicorn) -> list[Death]:
    return [death for death in map(from_json, watcher.deaths()) if death.app == app.name]


@pytest.mark.parametrize("name", CASES)
def test_with_nothing_but_the_agent_a_real_death_is_judged_right_and_says_what_it_was_doing(
    name: str, host: Host
) -> None:
    case, app = CASES[name], host.apps[name]
    case.kill(app)
    until(lambda: len(host.floodmark.ends(app.name)) >= case.ends, 20, f"{case.ends} ends of {name}")
    ends = host.floodmark.ends(app.name)
    assert {cause for cause, _ in ends} == {case.cause}
    assert len(ends) == case.ends
    if name != "stopped-with-its-workers":  # whether a worker ends before or after its master hears of it
        assert {confidence for _, confidence in ends} == {"confirmed"}
    recorded = deaths(host.floodmark, app)
    if case.doing:
        (death,) = recorded
        (request,) = death.in_flight or ()
        words, _, seconds = request.rpartition(", ")
        assert words == case.doing
        assert seconds.endswith(" s")
        assert float(seconds.removesuffix(" s")) < 30
    if case.function:
        assert 'killable.py", line' in (recorded[0].stack or "")
        assert f" in {case.function}\n" in (recorded[0].stack or "")
        shown = host.floodmark.values("gunicorn_last_death_info", app=app.name)
        ((_, confidence, doing),) = shown  # by label: cause, confidence, doing
        assert confidence == "confirmed"
        assert doing.startswith(
            f"{case.function} (support/killable.py:" if case.function else "a GET request"
        )
    assert "?" not in str([(death.in_flight, death.stack) for death in recorded])
    assert host.floodmark.values("floodmark_source_available", source="agent_exits") == {(): 1}


def test_a_boot_error_and_the_halt_it_makes_are_told_apart(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    with contextlib.ExitStack() as stack:
        app = stack.enter_context(silent_gunicorn("boot", tmp_path, environ={"KILLABLE_BROKEN": str(broken)}))
        config = without_logs(tmp_path, app)
        watcher = stack.enter_context(floodmark(tmp_path, "--config", config, prefix=NO_RIGHTS))
        broken.touch()
        app.process.send_signal(signal.SIGTTIN)
        until(lambda: len(watcher.ends(app.name)) >= 2, 20, "both ends are judged")
        assert sorted(watcher.ends(app.name)) == [("boot_error", "confirmed"), ("shutdown", "confirmed")]


def test_a_ledger_that_may_not_be_read_is_said_once_with_the_grant(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        app = stack.enter_context(silent_gunicorn("closed", tmp_path))
        app.get("/exit?7")
        book = Path(ledger.folder_of("/dev/shm", app.name), ledger.NAME)  # noqa: S108 - as above
        until(lambda: ledger.exits(str(book.parent)), 10, "the end is recorded")
        os.chown(book, 1, 1)
        book.chmod(0o600)
        config = without_logs(tmp_path, app)
        watcher = stack.enter_context(floodmark(tmp_path, "--config", config, prefix=NO_RIGHTS))
        until(lambda: said(watcher, app), 10, "it is said")
        (line,) = said(watcher, app)
        assert f"{book}: Permission denied" in line["msg"]
        assert "FLOODMARK_AGENT_DIR" in line["grant"]
        assert watcher.values("floodmark_source_available", source="agent_exits") == {(): 0}
        assert watcher.values("gunicorn_up", app=app.name) == {(): 1}
        assert len(said(watcher, app)) == 1


def said(watcher: Floodmark, app: Gunicorn) -> list[dict[str, str]]:
    return [
        line for line in watcher.lines() if line.get("source") == "agent_exits" and line["app"] == app.name
    ]


def test_an_oom_kill_is_the_kernels_word_and_never_the_agents(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        cgroup = stack.enter_context(memory_limited("agent", 128))
        app = stack.enter_context(silent_gunicorn("oom", tmp_path, enter=cgroup.entering))
        config = without_logs(tmp_path, app)
        watcher = stack.enter_context(floodmark(tmp_path, "--config", config, prefix=NO_RIGHTS))
        app.get("/keep?200")
        until(lambda: watcher.ends(app.name), 15, "the OOM kill is judged")
        assert watcher.ends(app.name) == [("oom_kill", "probable")]  # its cgroup's counter names nobody
        (death,) = deaths(watcher, app)
        assert [request.partition(",")[0] for request in death.in_flight or ()] == ["GET /keep"]


def kept_exits(folder: Path, app: Gunicorn) -> list[int]:
    """How many of an app's ends the state has, by cause."""
    kept = state.read(folder)
    return list(kept.tallies[app.name].exits.values()) if kept and app.name in kept.tallies else []


def test_what_dies_while_floodmark_is_dead_is_confirmed_with_what_it_was_doing(tmp_path: Path) -> None:
    flags: tuple[str, ...] = ("--state-dir", str(tmp_path / "state"))
    with contextlib.ExitStack() as stack:
        app = stack.enter_context(silent_gunicorn("down", tmp_path))
        flags += ("--config", without_logs(tmp_path, app))
        with floodmark(tmp_path, *flags, prefix=NO_RIGHTS) as first:
            app.get("/exit?7")
            until(lambda: first.ends(app.name), 15, "the first end is judged")
            until(app.workers, 10, "it is replaced")
            first.process.kill()
        seen, born = app.workers()[0], set[int]()
        app.get("/wait?30")  # one that floodmark may have seen, up to its timeout
        until(lambda: app.workers() and seen not in app.workers(), 10, "it is replaced")
        born.update(app.workers())  # one that floodmark never sees alive
        until(lambda: answers(app.port), 10, "it answers")
        app.get("/exit?9")
        until(lambda: app.workers() and born.isdisjoint(app.workers()), 10, "it is replaced")
        for _ in range(2):
            with floodmark(tmp_path, *flags, prefix=NO_RIGHTS) as again:
                until(lambda: sum(again.exits(app.name).values()) >= 3, 15, "all ends are counted")
                assert again.exits(app.name) == {"nonzero_exit": 2, "timeout": 1}
                newest, timeout, oldest = deaths(again, app)
                # Of workers it never saw alive, an end of the last two seconds before a stop may be lost.
                until(lambda: sum(kept_exits(tmp_path / "state", app)) == 3, 10, "all are kept")
                again.process.kill()
        assert [death.recovered for death in (newest, timeout)] == [True, True]
        assert (timeout.cause, timeout.confidence) == ("timeout", "confirmed")
        assert (timeout.in_flight or ("",))[0].startswith("GET /wait, ")
        assert 'killable.py", line' in (timeout.stack or "")
        assert (newest.in_flight or ("",))[0].startswith("GET /exit, ")
        assert (newest.slot, newest.confidence) == (None, "confirmed")
        assert (oldest.in_flight or ("",))[0].startswith("GET /exit, ")
