"""Whose sockets are whose, by a /proc of our own making: nothing the running kernel could be asked about."""

from pathlib import Path

import pytest

from floodmark.gunicorn import settings
from floodmark.gunicorn.find import Master
from floodmark.gunicorn.model import AppState, LiveWorker, Tally
from floodmark.gunicorn.saturation import Seen
from floodmark.gunicorn.sockets import Sockets
from floodmark.sources.available import Available
from floodmark.sources.procfs.process import Identity
from tests.support.proc_tree import GUNICORN, add

MASTER, WORKER = Identity(100, 1000), Identity(101, 1010)
HEADER = "header\n"
LISTENS = "0: 0100007F:1F40 00000000:0000 0A 00000000:00000003 00:00000000 00000000 0 0 11 1 0 100 0 0 10 0\n"
ACCEPTED = (
    "1: 0100007F:1F40 0100007F:D740 08 00000000:00000000 00:00000000 00000000 0 0 12 1 0 20 0 0 10 -1\n"
)
DATABASE = (
    "2: 0100007F:D741 0100007F:1538 01 00000000:00000000 00:00000000 00000000 0 0 13 1 0 20 0 0 10 -1\n"
)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    for identity in (MASTER, WORKER):
        add(tmp_path, identity.pid, GUNICORN)
        net = tmp_path / f"{identity.pid}/net"
        net.mkdir()
        (net / "tcp").write_text(HEADER + LISTENS + ACCEPTED + DATABASE)
        (net / "unix").write_text(HEADER)
        opens(tmp_path, identity, 11)
    return tmp_path


def opens(proc: Path, identity: Identity, inode: int) -> None:
    folder = proc / f"{identity.pid}/fd"
    (folder / str(len(list(folder.iterdir())))).symlink_to(f"socket:[{inode}]")


def app(*masters: Identity, workers: tuple[Identity, ...] = (WORKER,)) -> AppState:
    known = settings.read(["app"], {}, lambda _: None)
    return AppState(
        "shop",
        tuple(Master(each, "shop", known, "27.0.1", each.pid) for each in masters),
        (),
        tuple(LiveWorker(each, each.pid, slot, 0, None) for slot, each in enumerate(workers)),
        Tally(),
    )


def test_what_master_and_workers_both_hold_is_what_they_listen_on(proc: Path) -> None:
    opens(proc, WORKER, 13)
    found = Sockets(proc, Available(), ask_kernel=False).look(app(MASTER))
    assert [(each.address, each.queued) for each in found.listeners or ()] == [("127.0.0.1:8000", 3)]
    assert found.seen == {WORKER: Seen(0)}


def test_a_worker_whose_client_has_gone_still_works_for_it(proc: Path) -> None:
    opens(proc, WORKER, 12)
    assert Sockets(proc, Available(), ask_kernel=False).look(app(MASTER)).seen == {WORKER: Seen(1)}


def test_between_two_workers_of_a_crash_loop_the_backlog_is_still_told(proc: Path) -> None:
    sockets = Sockets(proc, Available(), ask_kernel=False)
    sockets.look(app(MASTER))
    found = sockets.look(app(MASTER, workers=()))
    assert [each.queued for each in found.listeners or ()] == [3]


def test_where_one_master_of_two_cannot_be_placed_nothing_is_called_idle(proc: Path) -> None:
    found = Sockets(proc, Available(), ask_kernel=False).look(app(MASTER, Identity(999, 9990)))
    assert found.listeners is None
    assert found.seen == {}


def test_sockets_that_cannot_be_found_are_a_lack_that_is_said(proc: Path) -> None:
    available = Available()
    for name in ("tcp", "unix"):
        (proc / f"100/net/{name}").write_text(HEADER)
    found = Sockets(proc, available, ask_kernel=False).look(app(MASTER))
    assert found.listeners is None
    assert available.by_source() == {"backlog": False}
