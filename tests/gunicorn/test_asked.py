"""What a master is asked over its control socket, what comes of it, and that nothing hangs by it."""

import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from floodmark.gunicorn.find import Master
from floodmark.gunicorn.watch import LOOK, Clock, Watch
from floodmark.sources.available import Available, Lack
from tests.support.control_server import Server, answer
from tests.support.proc_tree import GUNICORN, add

MASTER = os.getpid()  # whose socket it is, the kernel says
TITLE = ("gunicorn: master [shop]",)  # of setproctitle: no settings to be seen
CONFIG = {"workers": 4, "timeout": 17, "max_requests": 0, "threads": 1, "worker_class": "gthread"}
RELOAD = f"[2026-11-20 07:27:51 +0000] [{MASTER}] [INFO] Handling signal: hup\n"


class Host:
    """A host with one gunicorn whose control socket this test serves."""

    def __init__(self, root: Path, server: Server, *flags: str) -> None:
        self.proc = root / "proc"
        self.proc.mkdir()
        (self.proc / "stat").write_text("cpu0 1 1 1 1 1 1 1 1 0 0\nbtime 1000\n")
        self.server = server
        self.config: dict[str, object] = dict(CONFIG)
        self.aborted: list[int] = []
        server.speak = self.speak
        add(self.proc, MASTER, GUNICORN, environ=("GUNICORN_CMD_ARGS=" + " ".join(flags), f"HOME={root}"))
        (self.proc / f"{MASTER}/root").symlink_to("/")
        self.log = root / "error.log"
        self.log.touch()
        (self.proc / f"{MASTER}/fd/2").symlink_to(self.log)
        self.now = 5000.0
        self.available = Available()
        clock = Clock(wall=lambda: self.now, steady=lambda: self.now)
        self.watch = Watch(root, self.proc, {}, self.available, clock=clock)

    def speak(self, connection: socket.socket) -> None:
        question = json.loads(self.server.heard[-1][4:])["command"]
        workers = {"workers": [{"pid": pid, "aborted": pid in self.aborted} for pid in (101, 102)]}
        connection.sendall(answer(self.config if question == "show config" else workers))

    def passes(self, seconds: float = LOOK) -> Master:
        self.now += seconds
        self.watch.advance()
        (app,) = self.watch.state()
        return app.masters[0]

    def asked(self) -> list[str]:
        """Return what it was asked since the last call."""
        heard = [json.loads(each[4:])["command"] for each in self.server.heard]
        self.server.heard.clear()
        return heard

    def lack(self) -> Lack | None:
        (lack,) = (lack for source, _, lack in self.available.states() if source == "control_socket")
        return lack

    def logs(self, line: str) -> None:
        with self.log.open("a") as file:
            file.write(line)


Make = Callable[..., Host]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    (tmp_path / ".gunicorn").mkdir()
    monkeypatch.chdir(tmp_path / ".gunicorn")
    with Server("gunicorn.ctl") as server:
        yield lambda *flags: Host(tmp_path, server, *flags)


def retitled(make: Make) -> Host:
    host = make()
    add(host.proc, MASTER, TITLE, environ=(f"HOME={host.proc.parent}",))
    return host


def test_settings_that_cant_be_seen_are_told(make: Make) -> None:
    host = retitled(make)
    settings = host.passes().settings
    assert settings.number("timeout") == 17
    assert settings.worker_class == "gthread"
    assert settings.number("graceful_timeout") is None, "it didn't tell that one"
    assert host.lack() is None


def test_a_socket_is_found_by_its_listener_where_the_title_took_the_environments_place(make: Make) -> None:
    host = make()
    add(host.proc, MASTER, TITLE)
    listening = Path(host.server.path).with_name("elsewhere.ctl")
    Path(host.server.path).rename(listening)
    table = host.proc / f"{MASTER}/net"
    table.mkdir()
    (table / "unix").write_text(
        "Num       RefCount Protocol Flags    Type St Inode Path\n"
        "0000000000000000: 00000002 00000000 00010000 0001 01 4710 /run/app.sock\n"
        "0000000000000000: 00000002 00000000 00000000 0002 01 4712\n"
        f"0000000000000000: 00000002 00000000 00010000 0001 01 4711 {listening}\n"
    )
    (host.proc / f"{MASTER}/fd/7").symlink_to("socket:[4711]")
    assert host.passes().settings.number("timeout") == 17


def test_what_can_be_seen_is_not_asked_for(make: Make) -> None:
    host = make("--timeout 5")
    host.passes()
    assert host.passes(61).settings.number("timeout") == 5
    assert "show config" not in host.asked()


def test_settings_are_asked_for_again_after_a_reload_and_kept_until_then(make: Make) -> None:
    host = retitled(make)
    host.passes()
    host.config["timeout"] = 99
    host.logs(RELOAD)
    assert host.passes().settings.number("timeout") == 17
    assert host.passes(3).settings.number("timeout") == 99


def test_a_reload_that_no_log_tells_of_is_noticed_all_the_same(make: Make) -> None:
    host = retitled(make)
    host.passes()
    host.config["timeout"] = 99
    assert host.passes(61).settings.number("timeout") == 99


def test_with_a_log_that_is_understood_workers_are_not_asked_for(make: Make) -> None:
    host = make()
    host.passes()
    assert "show workers" in host.asked()
    host.logs(RELOAD)
    host.passes()
    host.asked()
    host.passes()
    assert host.asked() == []


def test_a_worker_that_was_given_up_is_a_timeout_without_any_log(make: Make) -> None:
    host = make()
    add(host.proc, 101, GUNICORN, ppid=MASTER)
    add(host.proc, 102, GUNICORN, ppid=MASTER)
    host.passes()
    host.aborted = [101]
    host.passes()
    for pid in (101, 102):
        add(host.proc, pid, (), ppid=MASTER, ticks=1)  # another process has the pid
    host.passes()
    host.passes(2)
    (app,) = host.watch.state()
    assert {cause: count for cause, count in app.tally.exits.items() if count} == {"timeout": 1, "unknown": 1}


def test_nothing_is_asked_under_the_lock_that_a_scrape_needs(make: Make) -> None:
    host = retitled(make)
    locked = []
    host.server.speak = lambda _: locked.append(host.watch._lock.locked())  # noqa: SLF001 - what it is about
    host.passes()
    assert locked
    assert not any(locked)


def test_who_gives_no_answer_is_asked_ever_more_seldom_and_the_lack_has_a_grant(make: Make) -> None:
    host = retitled(make)
    host.server.speak = lambda connection: connection.recv(1)  # until the asker has gone
    host.passes()
    lack = host.lack()
    assert lack
    assert "no answer in time" in lack.problem
    assert lack.grant
    assert len([host.passes() for _ in range(100)]) == 100
    assert len(host.asked()) == 7, "at once, and after 1, 2, 4, 8, 16 and 32 seconds"
    host.server.speak = host.speak
    assert host.passes(61).settings.number("timeout") == 17
    assert host.lack() is None


def test_rubbish_is_a_lack_and_the_watch_goes_on(make: Make) -> None:
    host = retitled(make)
    host.server.says(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert host.passes().settings.number("timeout") is None
    lack = host.lack()
    assert lack
    assert "answer" in lack.problem


def test_a_socket_that_is_turned_off_is_not_looked_for_and_costs_nothing_where_all_is_seen(
    make: Make,
) -> None:
    host = make("--no-control-socket")
    host.passes()
    assert host.asked() == []
    assert [source for source, _, _ in host.available.states()] == ["gunicorn_log"]


def test_a_missing_socket_is_a_lack_only_where_it_is_missed(make: Make) -> None:
    host = retitled(make)
    host.server.close()
    with contextlib.suppress(FileNotFoundError):
        Path(host.server.path).unlink()
    host.passes()
    assert [source for source, _, _ in host.available.states()] == ["gunicorn_log"], "it may be starting"
    host.passes()
    lack = host.lack()
    assert lack
    assert "No such file" in lack.problem
