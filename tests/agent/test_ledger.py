"""The ledger: the dead's counts are in it once, whatever is killed when."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from floodmark.agent import ledger, rows
from floodmark.agent.ledger import Exit, Ledger
from tests.support import slabs


def total(folder: Path, name: str) -> float:
    """Requests of a row as a reader sees them: slabs first, then the ledger."""
    seen = dict(ledger.slabs(str(folder)))
    of_dead, folded = ledger.counts(str(folder))
    values = [each.rows().get(name, [0.0]) for slab, each in seen.items() if slab not in folded]
    return sum(sum(each[:-1]) for each in [*values, of_dead.get(name, [0.0])])


def test_a_dead_workers_counts_are_folded_and_its_slab_is_gone(tmp_path: Path) -> None:
    slabs.dead(tmp_path, "for _ in range(5): serve()")
    slabs.dead(tmp_path, "for _ in range(7): serve()")
    assert total(tmp_path, "request GET 200") == 12
    Ledger(str(tmp_path)).fold([])
    assert [path.name for path in tmp_path.iterdir()] == [ledger.NAME]
    assert total(tmp_path, "request GET 200") == 12


def test_a_living_worker_is_left_alone(tmp_path: Path) -> None:
    alive = slabs.mine(tmp_path)
    alive.cells[alive.row("request GET 200")] = 3.0
    slabs.dead(tmp_path, "serve()")
    Ledger(str(tmp_path)).fold([])
    assert total(tmp_path, "request GET 200") == 4
    assert {path.name for path in tmp_path.iterdir()} == {ledger.NAME, Path(alive.path).name}


def test_a_request_in_flight_at_a_death_counts_as_of_unknown_status(tmp_path: Path) -> None:
    worker = slabs.dead(tmp_path, "serve(); hooks.pre_request(None, request('/slow', 'POST'))")
    Ledger(str(tmp_path)).fold([Exit(*worker, time.time(), status=9)])
    assert total(tmp_path, "request GET 200") == 1
    assert total(tmp_path, "request POST unknown") == 1
    assert ledger.counts(str(tmp_path)).rows["request POST unknown"][rows.SUM] > 0
    (ended,) = ledger.exits(str(tmp_path))
    assert [text for text, _ in ended.in_flight] == ["POST /slow"]


# The stores of a request's end, one by one, as ``post_request`` makes them.
_CLOSING = """
served = request()
hooks.pre_request(None, served)
cell = slab.row("request GET 200")
_, closing, count, start = slab.slot(31)
assert slab.cells[start]
steps = [
    lambda: None,
    lambda: slab.cells.__setitem__(closing, cell),
    lambda: slab.cells.__setitem__(count, 1.0),
    lambda: slab.cells.__setitem__(cell, 1.0),
    lambda: slab.cells.__setitem__(start, 0.0),
]
for step in steps[:{steps}]:
    step()
"""


@pytest.mark.parametrize("steps", range(1, 6))
def test_a_sigkill_at_any_store_of_a_requests_end_counts_it_once(tmp_path: Path, steps: int) -> None:
    slabs.dead(tmp_path, _CLOSING.replace("{steps}", str(steps)))
    Ledger(str(tmp_path)).fold([])
    answered, unknown = (total(tmp_path, f"request GET {status}") for status in ("200", "unknown"))
    assert (answered, unknown) == ((1, 0) if steps >= 4 else (0, 1))


_KILLED_FOLD = """
import os, signal, sys
from floodmark.agent import ledger
calls = 0
def killing(own):
    def call(*arguments, **named):
        global calls
        calls += 1
        if calls == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return own(*arguments, **named)
    return call
for name in ("open", "read", "rename", "unlink", "fchmod", "close"):
    setattr(ledger.os, name, killing(getattr(os, name)))
ledger.Ledger(sys.argv[1]).fold([])
print("whole")
"""


def test_a_master_killed_at_any_call_of_a_fold_loses_and_doubles_nothing(tmp_path: Path) -> None:
    whole = False
    for call in range(1, 60):
        folder = tmp_path / str(call)
        folder.mkdir()
        for _ in range(2):
            slabs.dead(folder, "serve(); serve()")
        command = [sys.executable, "-c", _KILLED_FOLD, str(folder), str(call)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        assert total(folder, "request GET 200") == 4, f"killed at call {call}"
        Ledger(str(folder)).fold([])
        assert total(folder, "request GET 200") == 4, f"killed at call {call}"
        assert [path.name for path in folder.iterdir() if path.suffix == ".slab"] == []
        whole = done.stdout == "whole\n"
        if whole:
            break
    assert whole, "a fold has more calls than were tried"


def test_two_masters_of_one_app_take_turns(tmp_path: Path) -> None:
    for _ in range(6):
        slabs.dead(tmp_path, "serve()")
    program = "import sys\nfrom floodmark.agent.ledger import Ledger\nLedger(sys.argv[1]).fold([])"
    folding = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)]) for _ in range(4)]
    for each in folding:
        each.wait(60)
    Ledger(str(tmp_path)).fold([])
    assert total(tmp_path, "request GET 200") == 6


def test_its_size_stays_the_same_with_ten_thousand_deaths(tmp_path: Path) -> None:
    own = Ledger(str(tmp_path))
    for start in range(0, 10_000, 500):
        own.fold([Exit(pid, 1, 1.0, status=9, stack="x" * 6000) for pid in range(start, start + 500)])
    assert (tmp_path / ledger.NAME).stat().st_size == ledger.SIZE
    exits = ledger.exits(str(tmp_path))
    assert exits[-1].pid == 9_999, "the newest are kept"
    assert exits[-1].stack == "x" * 6000


def test_more_routes_than_it_has_room_for_are_one(tmp_path: Path) -> None:
    for start in (0, 50, 100):
        slabs.dead(
            tmp_path,
            f"for n in range({start}, {start} + 64): serve(environ={{'floodmark.route': f'/r{{n}}'}})",
        )
    Ledger(str(tmp_path)).fold([])
    counted, _ = ledger.counts(str(tmp_path))
    routes = {name: values for name, values in counted.items() if name.startswith("route ")}
    assert len(routes) == rows.QUOTAS["route"] + 1
    assert sum(values[rows.ROUTE_STATUS + 1] for values in routes.values()) == 3 * 64


def test_a_full_disk_costs_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slabs.dead(tmp_path, "serve()")
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "NAME", "x" * 300)  # ENAMETOOLONG: the cheapest error a file system gives
        with pytest.raises(OSError, match="too long"):
            Ledger(str(tmp_path)).fold([])
    assert total(tmp_path, "request GET 200") == 1
    Ledger(str(tmp_path)).fold([])
    assert total(tmp_path, "request GET 200") == 1


def test_another_versions_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / ledger.NAME).write_text(json.dumps({"version": 0}) + "\n[]")
    with pytest.raises(ValueError, match="version 0"):
        ledger.counts(str(tmp_path))


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    other = tmp_path / f"floodmark-{os.geteuid()}"
    (tmp_path / "theirs").mkdir()
    other.symlink_to(tmp_path / "theirs")
    with pytest.raises(PermissionError):
        ledger.folder_of(str(tmp_path), "shop")


@pytest.mark.parametrize("app", ["../../etc/x", "..", ".", "", "/", "축제" * 300, "a\0b"])
def test_an_apps_name_never_leads_out_of_the_folder(tmp_path: Path, app: str) -> None:
    folder = ledger.folder_of(str(tmp_path), app)
    assert Path(folder).resolve().parent == tmp_path / f"floodmark-{os.geteuid()}"


def test_what_a_dead_master_left_counts_but_no_time_that_nobody_knows(tmp_path: Path) -> None:
    slabs.dead(tmp_path, "hooks.pre_request(None, request())")
    time.sleep(0.1)
    Ledger(str(tmp_path)).fold([])
    assert total(tmp_path, "request GET unknown") == 1
    assert ledger.counts(str(tmp_path)).rows["request GET unknown"][rows.SUM] == 0
    assert ledger.exits(str(tmp_path))[0].in_flight == ()


def test_a_ledger_that_is_none_is_put_aside_and_the_slabs_wait_for_the_next(tmp_path: Path) -> None:
    (tmp_path / ledger.NAME).write_text("garbage")
    slabs.dead(tmp_path, "serve()")
    with pytest.raises(ValueError, match=r"put aside as .*ledger.unusable, and a new one begins"):
        Ledger(str(tmp_path)).fold([])
    Ledger(str(tmp_path)).fold([])
    assert total(tmp_path, "request GET 200") == 1


def test_a_new_master_clears_away_what_is_long_gone_and_nothing_that_lives(tmp_path: Path) -> None:
    gone, lives = (Path(ledger.folder_of(str(tmp_path), app)) for app in ("shop-41", "shop-42"))
    slabs.mine(lives)
    Ledger(str(gone)).fold([])
    Ledger(str(lives)).fold([])
    (lives / "1-1.slab.new").write_bytes(b"")
    ledger.forget_old(str(gone.parent / "shop-43"), time.time() + 2 * 86400)
    assert [path.name for path in gone.parent.iterdir()] == ["shop-42"]
    assert {path.suffix for path in lives.iterdir()} == {"", ".slab"}


def test_an_app_has_its_ledger_before_its_first_death(tmp_path: Path) -> None:
    Ledger(str(tmp_path)).fold([])
    assert (tmp_path / ledger.NAME).stat().st_size == ledger.SIZE
    assert ledger.counts(str(tmp_path)) == ({}, [])
    assert ledger.exits(str(tmp_path)) == []


def test_an_app_that_comes_back_after_days_goes_on_from_its_counts(tmp_path: Path) -> None:
    folder = ledger.folder_of(str(tmp_path), "shop")
    slabs.dead(Path(folder), "serve()")
    Ledger(folder).fold([])
    slabs.dead(Path(folder), "serve()")  # of a master that was killed: nobody folded it
    os.utime(Path(folder, ledger.NAME), (0, 0))
    ledger.forget_old(folder, time.time())
    Ledger(folder).fold([])
    assert total(Path(folder), "request GET 200") == 2
