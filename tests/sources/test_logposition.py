"""Going on in a log after a restart: what was read is found again, or it is known what is missing."""

import os
import shutil
from pathlib import Path

import pytest

from floodmark.sources import logtail
from floodmark.sources.logposition import Position
from floodmark.sources.logtail import LogTail


@pytest.fixture
def log(tmp_path: Path) -> Path:
    log = tmp_path / "error.log"
    log.write_text("read before\n")
    return log


def position(log: Path) -> Position:
    tail = LogTail(str(log))
    found = tail.position()
    tail.close()
    return found


def since(log: Path, where: Position) -> tuple[list[str], bool]:
    tail = LogTail(str(log), since=where)
    lines = list(tail.lines())
    tail.close()
    return lines, tail.complete


def append(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


def test_what_was_appended_is_read_an_unfinished_line_from_its_beginning(log: Path) -> None:
    tail = LogTail(str(log))
    append(log, "one\nunfin")
    assert list(tail.lines()) == ["one"]
    where = tail.position()
    append(log, "ished\ntwo\n")
    assert since(log, where) == (["unfinished", "two"], True)
    tail.close()


def test_a_rotated_file_is_found_beside_its_place_and_read_first(log: Path) -> None:
    where = position(log)
    append(log, "one\n")
    log.rename(log.with_name("error.log.1"))
    log.write_text("two\n")
    assert since(log, where) == (["one", "two"], True)


def test_after_two_rotations_something_is_missing_and_that_is_known(log: Path) -> None:
    where = position(log)
    append(log, "one\n")
    os.utime(log, (1, 1))
    log.rename(log.with_name("error.log.2"))
    log.with_name("error.log.1").write_text("missed\n")
    log.write_text("two\n")
    assert since(log, where) == (["one", "two"], False)


def test_a_file_that_was_copied_away_and_truncated_has_a_gap(log: Path) -> None:
    where = position(log)
    append(log, "one\n")
    shutil.copy(log, log.with_name("error.log.1"))
    log.write_text("")
    append(log, "two, which makes it longer than it was when its position was taken\n")
    lines, complete = since(log, where)
    assert len(lines) == 1
    assert lines[0].startswith("two")
    assert not complete


def test_a_rotated_file_that_was_compressed_has_a_gap(log: Path) -> None:
    where = position(log)
    log.unlink()
    log.with_name("error.log.1.gz").write_bytes(b"\x1f\x8b")
    log.write_text("two\n")
    assert since(log, where) == (["two"], False)


def test_another_file_with_the_same_inode_is_another_file(log: Path) -> None:
    where = position(log)
    log.write_text("READ BEFORE\nand more\n")
    assert since(log, where) == (["READ BEFORE", "and more"], False)


def test_of_too_much_only_the_end_is_read(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logtail, "_BACKLOG", 8)
    where = position(log)
    append(log, "a long line\nthe end\n")
    assert since(log, where) == (["the end"], False)
