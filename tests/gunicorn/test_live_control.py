"""The control sockets of real gunicorns."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.live import Floodmark, Gunicorn, floodmark, gunicorn, until

pytestmark = pytest.mark.live


def computed(folder: Path, **settings: int) -> tuple[str, ...]:
    """Return flags for a config file that only gunicorn itself can understand."""
    path = folder / "computed.conf.py"
    path.write_text("".join(f"{name} = int('{value}')\n" for name, value in settings.items()))
    return ("--config", str(path))


def at_home(folder: Path) -> Callable[[list[str]], list[str]]:
    """Return what runs a gunicorn whose control socket has its default path, in this folder."""
    return lambda command: ["env", "-u", "XDG_RUNTIME_DIR", f"HOME={folder}", *command]


def lacks(watcher: Floodmark, app: Gunicorn) -> list[str]:
    return [
        line["msg"]
        for line in watcher.lines()
        if line.get("source") == "control_socket" and line.get("app") == app.name and "grant" in line
    ]


def test_settings_that_only_gunicorn_knows_are_told_by_it_again_after_a_reload(tmp_path: Path) -> None:
    flags = computed(tmp_path, max_requests=4000, threads=3)
    with (
        gunicorn("told", tmp_path, *flags, control=True, enter=at_home(tmp_path)) as app,
        floodmark(tmp_path) as watcher,
    ):

        def setting(name: str) -> dict[tuple[str, ...], float]:
            return watcher.values("gunicorn_config", app=app.name, setting=name)

        assert setting("max_requests") == {(): 4000}
        assert watcher.values("gunicorn_info", app=app.name, worker_class="gthread", preload="false")
        computed(tmp_path, max_requests=5000, threads=3)
        app.process.send_signal(signal.SIGHUP)
        until(lambda: setting("max_requests") == {(): 5000}, 15, "the new setting is told")
        assert lacks(watcher, app) == []


def test_a_gunicorn_that_starts_later_is_asked_as_soon_as_it_can_answer(tmp_path: Path) -> None:
    flags = computed(tmp_path, max_requests=4000)
    with (
        floodmark(tmp_path) as watcher,
        gunicorn("late", tmp_path, *flags, control=True, enter=at_home(tmp_path)) as app,
    ):
        until(
            lambda: watcher.values("gunicorn_config", app=app.name, setting="max_requests") == {(): 4000},
            30,
            "its settings are told",
        )


def test_of_two_gunicorns_with_one_socket_the_first_is_not_told_the_seconds_settings(tmp_path: Path) -> None:
    flags = computed(tmp_path, max_requests=4000)
    with gunicorn("first", tmp_path, *flags, control=True, enter=at_home(tmp_path)) as first:
        flags = computed(tmp_path, max_requests=5000)
        with (
            gunicorn("second", tmp_path, *flags, control=True, enter=at_home(tmp_path)) as second,
            floodmark(tmp_path) as watcher,
        ):
            assert watcher.values("gunicorn_config", app=second.name, setting="max_requests") == {(): 5000}
            assert watcher.values("gunicorn_config", app=first.name, setting="max_requests") == {}
            (said,) = lacks(watcher, first)
            assert said.endswith(f"it belongs to process {second.process.pid}")
            assert lacks(watcher, second) == []


def test_without_a_log_timeouts_are_told_by_the_control_socket(tmp_path: Path) -> None:
    with gunicorn("unlogged", tmp_path, control=True, workers=1, enter=at_home(tmp_path)) as app:
        config = tmp_path / "floodmark.yml"
        config.write_text(f"apps: {{{app.name}: {{log: {tmp_path}/none.log}}}}")
        with floodmark(tmp_path, "--config", str(config)) as watcher:

            def told() -> list[str]:
                return [
                    line["evidence"]
                    for line in watcher.lines()
                    if line.get("app") == app.name and "cause" in line
                ]

            # A look each second sees most of them between SIGABRT and SIGKILL a second later, not all.
            while len(told()) < 5 and not any("control socket: aborted" in evidence for evidence in told()):
                judged = len(told())
                os.kill(until(app.workers, 5, "a worker runs")[0], signal.SIGSTOP)  # it beats no more
                until(lambda: len(told()) > judged, 20, "its end is judged")  # noqa: B023 - called here
            assert "control socket: aborted" in told()[-1]
            ends = watcher.ends(app.name)
            assert {cause for cause, _ in ends} == {"timeout"}
            assert ends[-1] == ("timeout", "confirmed")


def test_a_master_that_hangs_holds_up_neither_a_scrape_nor_a_verdict(tmp_path: Path) -> None:
    flags = computed(tmp_path, max_requests=4000)
    with (
        gunicorn("stopped", tmp_path, *flags, control=True, enter=at_home(tmp_path)) as app,
        gunicorn("beside", tmp_path) as beside,
    ):
        app.process.send_signal(signal.SIGSTOP)  # the kernel still accepts connections for it
        try:
            with floodmark(tmp_path) as watcher:
                assert watcher.values("gunicorn_up", app=app.name) == {(): 1}
                (said,) = lacks(watcher, app)
                assert said.endswith("no answer in time")
                os.kill(beside.workers()[0], signal.SIGSEGV)
                until(lambda: watcher.ends(beside.name), 15, "the other's death is judged")
                assert watcher.ends(beside.name) == [("crash_signal", "confirmed")]
        finally:
            app.process.send_signal(signal.SIGCONT)


def test_a_user_who_may_not_speak_to_it_is_told_what_would_let_him(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can run a gunicorn that floodmark has no right to ask")
    rightless = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    with (
        gunicorn("shut", tmp_path, control=True, enter=at_home(tmp_path)) as app,
        floodmark(tmp_path, prefix=rightless) as watcher,
    ):
        (said,) = (
            line
            for line in watcher.lines()
            if line.get("source") == "control_socket" and line["app"] == app.name
        )
        assert "Permission denied" in said["msg"]
        assert "CAP_DAC_OVERRIDE" in said["grant"]
