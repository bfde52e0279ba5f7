"""What the agent's ledger adds: ends that nothing else tells of, each counted once, and none invented."""

import dataclasses
import json
import time
from pathlib import Path

import pytest

from floodmark.agent import ledger
from floodmark.agent.ledger import Exit, Ledger
from floodmark.gunicorn import deaths, kept
from floodmark.gunicorn.inside import Inside
from floodmark.gunicorn.watch import SETTLE
from tests.gunicorn.test_watch import MASTER
from tests.support.proc_tree import GUNICORN, add, end
from tests.support.restarts import RestartedHost

KILL, EXIT_7 = 9, 7 << 8
STACK = 'Current thread 0x1 (most recent call first):\n  File "/srv/shop/views.py", line 31 in report\n'


class AgentHost(RestartedHost):
    """Its gunicorn has an agent and a log that says nothing; the host's root is the gunicorn's."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        (self.proc / f"{MASTER}/root").symlink_to(root)
        (root / "dev/shm").mkdir(parents=True)
        self.folder = Path(ledger.folder_of(str(root / "dev/shm"), "shop.wsgi:application"))

    def tells(self, *ended: Exit) -> None:
        """Have the master's agent record ends."""
        Ledger(str(self.folder)).fold(list(ended))

    def died(self, pid: int, ticks: int, status: int | None = EXIT_7, **facts: object) -> Exit:
        """Return what the agent would record of an end now."""
        return Exit(pid, ticks, self.now, status)._replace(**facts)  # type: ignore[arg-type] # a table of facts


@pytest.fixture
def host(tmp_path: Path) -> AgentHost:
    host = AgentHost(tmp_path)
    for pid in (101, 102):
        host.worker(pid)
    host.start()
    host.passes()
    return host


def source(host: AgentHost) -> bool | None:
    return host.watch.available.by_source().get("agent_exits")


def test_a_death_has_the_status_the_requests_and_the_stack_that_the_agent_tells(host: AgentHost) -> None:
    host.dies(101)
    served = (("GET /report", 31.24), ("POST /buy", 2.0))
    host.tells(
        host.died(101, 1010, KILL, aborted=True, signals=("SIGABRT",), in_flight=served, stack="Thread 0x1")
    )
    assert host.judged() == {"timeout": 1}
    (death,) = host.deaths()
    assert death.confidence == "confirmed"
    assert death.in_flight == ("GET /report, 31.2 s", "POST /buy, 2.0 s")
    assert death.stack == "Thread 0x1"
    assert source(host) is True


def test_a_record_of_an_earlier_process_of_that_pid_is_no_evidence(host: AgentHost) -> None:
    host.tells(host.died(101, 999, KILL, time=host.now - 100, aborted=True))
    host.dies(101)
    assert host.judged() == {"unknown": 1}
    assert host.deaths()[0].in_flight is None


def test_a_worker_that_nobody_saw_alive_is_counted_once_with_its_boot(host: AgentHost) -> None:
    host.now += 5
    host.tells(host.died(150, 1500), host.died(151, 1510))
    for _ in range(3):
        assert host.judged() == {"nonzero_exit": 2}
        host.restart()
    assert host.judged() == {"nonzero_exit": 2}
    assert host.passes().tally.boots == 2
    assert [(death.recovered, death.slot) for death in host.deaths()] == [(False, None)] * 2


def test_workers_born_and_dead_while_floodmark_was_down_are_recovered_once(host: AgentHost) -> None:
    before = host.watch.kept()
    host.now += 100
    ends = host.died(150, 1500, in_flight=(("GET /", 0.5),)), host.died(151, 1510, 0, recycled=True)
    host.tells(*ends)
    host.now += 50
    host.start(before)
    for _ in range(3):
        assert host.judged() == {"nonzero_exit": 1, "max_requests": 1}
        host.restart()
    assert host.passes().tally.recovered == 1
    (death,) = host.deaths()
    assert (death.recovered, death.time, death.in_flight) == (True, ends[0].time, ("GET /, 0.5 s",))
    assert death.confidence == "confirmed"
    assert death.evidence[-1].startswith("floodmark wasn't running then")


def test_a_worker_that_died_while_floodmark_was_down_is_confirmed_and_dated(host: AgentHost) -> None:
    before = host.watch.kept()
    host.dies(101)
    host.now += 30
    ended = host.died(101, 1010, KILL, aborted=True, signals=("SIGABRT", "SIGKILL"))
    host.tells(ended)
    host.now += 100
    host.start(before)
    assert host.judged() == {"timeout": 1}
    (death,) = host.deaths()
    assert (death.confidence, death.time, death.slot) == ("confirmed", ended.time, 0)


def test_a_log_and_a_ledger_that_tell_of_the_same_worker_make_one_death(host: AgentHost) -> None:
    host.says(MASTER, "Listening")
    host.passes()
    before = host.watch.kept()
    host.says(150, "Booting worker with pid: 150")
    host.says(MASTER, "Worker (pid:150) exited with code 7.", "ERROR")
    host.now += 60
    host.tells(host.died(150, 1500))
    host.now += 60
    host.start(before)
    for _ in range(3):
        assert host.judged() == {"nonzero_exit": 1}


def test_ends_of_a_gunicorn_that_is_gone_are_recovered_too(host: AgentHost) -> None:
    before = host.watch.kept()
    for pid in (101, 102, MASTER):
        host.dies(pid)
    host.now += 5
    host.tells(
        *(host.died(pid, pid * 10, 0, signals=("SIGTERM",), order="term") for pid in (101, 102)),
        host.died(150, 1500, KILL, aborted=True),
    )
    (host.proc / f"{MASTER}/root").unlink()
    host.start(before)
    host.now += SETTLE
    assert host.judged() == {"shutdown": 2, "timeout": 1}


def test_what_ended_before_floodmark_ever_looked_is_not_counted(tmp_path: Path) -> None:
    host = AgentHost(tmp_path)
    host.tells(host.died(150, 1500))
    host.now += 60
    host.worker(101)
    host.start()
    assert host.judged() == {}
    assert host.judged() == {}


def test_ends_that_were_counted_count_no_more_when_the_app_comes_back(host: AgentHost) -> None:
    host.restart()
    for number in range(3):
        host.now += 5
        host.tells(host.died(150 + number, 1500 + number))
        host.judged()
    for pid in (101, 102, MASTER):
        host.dies(pid)
    host.judged()
    host.passes(5)
    before = host.passes().tally  # by now all that was known of it in here is forgotten
    add(host.proc, 300, GUNICORN)
    (host.proc / "300/root").symlink_to(host.root)
    assert len(host.passes(6).masters) == 1
    host.now += 1
    host.tells(host.died(350, 3500))
    host.judged()
    after = host.passes().tally
    assert after.exits["nonzero_exit"] == before.exits["nonzero_exit"] + 1 == 4


def test_two_masters_of_an_app_count_an_end_once(host: AgentHost) -> None:
    add(
        host.proc,
        200,
        GUNICORN,
        ppid=MASTER,
        environ=(f"GUNICORN_PID={MASTER}",),
    )
    (host.proc / "200/root").symlink_to(host.root)
    assert len(host.passes(6).masters) == 2
    host.tells(host.died(150, 1500))
    host.judged()
    assert host.judged() == {"nonzero_exit": 1}


def test_an_app_without_an_agent_lacks_nothing(tmp_path: Path) -> None:
    host = AgentHost(tmp_path)
    host.folder.rmdir()
    host.start()
    host.passes()
    assert source(host) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}\n7",
        b"{}\n[1]",
        b"\xff\n\xff",
        b"\n" + b"[" * 20000,
        b'\n[{"pid": "x", "ticks": [], "time": {}}]',
        b'\n[{"pid": 101, "ticks": 1010, "time": 1, "status": "9"}]',
        b'\n[{"pid": 101, "ticks": 1010, "time": 1, "status": 9, "order": ["term"]}]',
        b'\n[{"pid": 101, "ticks": 1010, "time": 1, "in_flight": 7}]',
        b'\n[{"pid": 101, "ticks": 1010, "time": 1, "later": 7}]',
    ],
)
def test_a_ledger_that_is_none_costs_the_facts_and_not_the_watching(host: AgentHost, content: bytes) -> None:
    (host.folder / ledger.NAME).write_bytes(content)
    host.dies(101)
    assert host.judged() == {"unknown": 1}
    assert host.watch.failure is None
    if content:
        assert source(host) is False
        host.now += 60
        (host.folder / ledger.NAME).unlink()
        host.tells(host.died(102, 1020, KILL, aborted=True))
        host.dies(102)
        assert host.judged() == {"unknown": 1, "timeout": 1}
        assert source(host) is True


def test_a_ledger_is_read_again_only_when_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Ledger(str(tmp_path)).fold([Exit(1, 2, time.time(), 0)])
    readings: list[str] = []
    read = ledger.exits

    def counting(folder: str) -> list[Exit]:
        readings.append(folder)
        return read(folder)

    monkeypatch.setattr(ledger, "exits", counting)
    book = Inside(str(tmp_path), 0.0)
    for _ in range(3):
        book.read()
    assert len(readings) == 1
    Ledger(str(tmp_path)).fold([Exit(3, 4, time.time(), 0)])
    book.read()
    assert [each.pid for each in book.untold(time.time())] == [1, 3]


def test_a_state_that_an_earlier_version_kept_is_understood(host: AgentHost) -> None:
    document = json.loads(kept.dumps(host.watch.kept()))
    for gunicorn in document["gunicorns"]:
        del gunicorn["folder"]
        for worker in gunicorn["workers"]:
            del worker["aborted"]
    assert kept.from_json(document).gunicorns[0].folder is None


def test_the_last_death_is_shown_in_a_few_words_and_not_for_ever(host: AgentHost) -> None:
    host.tells(
        host.died(150, 1500, in_flight=(("GET /", 0.1),)),
        host.died(151, 1510, KILL, time=host.now + 1, aborted=True, stack=STACK),
    )
    host.now += 2
    host.judged()
    (app,) = host.watch.state()
    assert app.last_death
    assert (app.last_death.cause, deaths.doing(app.last_death)) == ("timeout", "report (shop/views.py:31)")
    host.now += deaths.LATELY
    assert host.passes().last_death is None


@pytest.mark.parametrize(
    ("in_flight", "stack", "words"),
    [
        (("GET /secret/path, 3.0 s",), None, "a GET request"),
        (("SECRETS /, 3.0 s",), None, "a request"),
        (("POST, 3.0 s",), None, "a POST request"),
        (("GET /, 3.0 s", "GET /, 1.0 s"), None, "2 requests"),
        ((), None, ""),
        (None, "garbage", ""),
        (("GET /, 3.0 s",), STACK, "report (shop/views.py:31)"),
        (None, STACK.replace("report", "\x1b[2J" + "x" * 500), "x" * 79 + " (shop/views.py:31)"),
    ],
)
def test_what_it_was_doing_fits_a_label_and_holds_no_path(
    host: AgentHost, in_flight: tuple[str, ...] | None, stack: str | None, words: str
) -> None:
    host.tells(host.died(150, 1500))
    host.judged()
    (death,) = host.deaths()
    told = deaths.doing(dataclasses.replace(death, in_flight=in_flight, stack=stack))
    assert told[-100:] == told
    assert told.endswith(words) if len(words) > 50 else told == words


def test_a_process_that_ends_while_it_is_watched_keeps_its_slot_in_its_record(host: AgentHost) -> None:
    end(host.proc, 102)
    host.passes()
    host.tells(host.died(102, 1020))
    host.judged()
    assert [death.slot for death in host.deaths()] == [1]
