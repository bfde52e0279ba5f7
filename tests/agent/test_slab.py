"""The slab: what is written is read, never half, and nothing a stranger puts there is taken for one."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from floodmark.agent import slab
from floodmark.agent.slab import Cell
from tests.support import slabs

if TYPE_CHECKING:
    from pathlib import Path


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    written = slabs.mine(tmp_path)
    row = written.row("request GET 200")
    written.cells[row] += 3.0
    written.cells[row + 15] = 0.25
    assert slab.read(written.path).rows() == {"request GET 200": [3.0, *[0.0] * 14, 0.25]}


def test_a_name_that_is_too_long_is_cut_at_a_whole_character(tmp_path: Path) -> None:
    written = slabs.mine(tmp_path)
    written.row("route /" + "축제" * 50)
    (name,) = slab.read(written.path).rows()
    assert name == "route /" + "축제" * 18 + "축"


def test_a_full_slab_refuses_one_more_row_and_keeps_the_others(tmp_path: Path) -> None:
    written = slabs.mine(tmp_path)
    for number in range(slab.ROWS):
        written.row(f"route {number}")
    with pytest.raises(IndexError):
        written.row("one more")
    assert len(slab.read(written.path).rows()) == slab.ROWS


def test_what_a_worker_does_not_know_yet_is_not_zero(tmp_path: Path) -> None:
    header = slab.read(slabs.mine(tmp_path).path).header()
    assert all(math.isnan(header[cell]) for cell in slab.UNKNOWN_AT_FIRST)
    assert header[Cell.PID] == os.getpid()


def test_it_has_one_size_from_its_birth_to_its_death(tmp_path: Path) -> None:
    slabs.dead(tmp_path, "for n in range(100): serve(f'/{n}' * 300, status=200 + n)")
    (path,) = tmp_path.iterdir()
    assert path.stat().st_size == slab.SIZE
    assert path.stat().st_blocks * 512 <= 64 << 10


def test_the_lock_tells_the_living_from_the_dead(tmp_path: Path) -> None:
    slabs.dead(tmp_path, "serve()")
    (path,) = tmp_path.iterdir()
    assert not slab.read(str(path)).alive
    assert slab.read(slabs.mine(tmp_path).path).alive


def test_a_forked_child_writes_to_memory_of_its_own(tmp_path: Path) -> None:
    slabs.dead(
        tmp_path,
        "from floodmark.agent import worker\n"
        "agent = worker.Agent.__new__(worker.Agent); agent.slab = slab; agent._collected = None\n"
        "import gc; gc.callbacks.append(None); gc.disable()\n"
        "worker.current[:] = [agent]\n"
        "row = slab.row('request GET 200')\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    slab.cells[row] = 99.0\n"
        "    assert worker.current == []\n"
        "    os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "slab.cells[row] += 1.0",
    )
    (path,) = tmp_path.iterdir()
    assert slab.read(str(path)).rows()["request GET 200"][0] == 1.0


def test_numbers_are_never_torn_while_they_are_written(tmp_path: Path) -> None:
    # All bits of a double change at each store: a half of one and a half of the other is neither.
    program = (
        "import os, sys\nfrom floodmark.agent.slab import Identity, Slab\n"
        "slab = Slab(sys.argv[1], Identity.of(os.getpid()), Identity.of(os.getppid()))\n"
        "row = slab.row('torn')\nprint(flush=True)\n"
        "cells, one, two = slab.cells, float.fromhex(sys.argv[2]), float.fromhex(sys.argv[3])\n"
        "while True:\n    cells[row] = one\n    cells[row] = two"
    )
    one, two = 1.1111111111111112, -2.2222222222222223e-77
    command = [sys.executable, "-c", program, str(tmp_path), one.hex(), two.hex()]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        (path,) = tmp_path.iterdir()
        values = {slab.read(str(path)).rows()["torn"][0] for _ in range(5000)}
        process.kill()
    assert {one, two} <= values <= {0.0, one, two}


@pytest.mark.parametrize("content", [b"", b"floodmk1", b"floodmk0" + bytes(slab.SIZE), b"\xff" * slab.SIZE])
def test_what_is_no_slab_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "1-1.slab"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="no slab"):
        slab.read(str(path))


@pytest.mark.parametrize("filling", [b"\xff", b"\x7f", b"A"])
def test_garbage_behind_the_right_magic_is_refused(tmp_path: Path, filling: bytes) -> None:
    path = tmp_path / "1-1.slab"
    path.write_bytes(slab.MAGIC + filling * (slab.SIZE - len(slab.MAGIC)))
    with pytest.raises(ValueError, match="garbage"):
        slab.read(str(path))


def test_a_pipe_and_a_link_in_a_slabs_place_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1-1.slab")
    with pytest.raises(ValueError, match="not a file"):
        slab.read(str(tmp_path / "1-1.slab"))
    real = slabs.mine(tmp_path).path
    (tmp_path / "2-2.slab").symlink_to(real)
    with pytest.raises(OSError, match="symbolic"):
        slab.read(str(tmp_path / "2-2.slab"))
