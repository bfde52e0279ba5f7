"""Following a log through everything that happens to logs."""

from pathlib import Path

import pytest

from floodmark.sources.logtail import LogTail


@pytest.fixture
def path(tmp_path: Path) -> Path:
    log = tmp_path / "error.log"
    log.write_text("old\n")
    return log


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_only_what_is_appended_is_read(path: Path) -> None:
    tail = LogTail(str(path))
    append(path, "new\n")
    assert list(tail.lines()) == ["new"]
    assert list(tail.lines()) == []


def test_a_line_waits_until_it_is_complete(path: Path) -> None:
    tail = LogTail(str(path))
    append(path, "WORKER TIME")
    assert list(tail.lines()) == []
    append(path, "OUT\n")
    assert list(tail.lines()) == ["WORKER TIMEOUT"]


def test_rotation_loses_no_line(path: Path) -> None:
    tail = LogTail(str(path))
    append(path, "last of the old\n")
    path.rename(path.with_suffix(".1"))
    path.write_text("first of the new\n")
    assert list(tail.lines()) == ["last of the old", "first of the new"]


def test_a_gap_between_the_two_steps_of_rotation_is_survived(path: Path) -> None:
    tail = LogTail(str(path))
    path.rename(path.with_suffix(".1"))
    assert list(tail.lines()) == []
    path.write_text("new\n")
    assert list(tail.lines()) == ["new"]


def test_a_file_that_takes_its_place_and_cant_be_read_is_told_until_one_can(path: Path) -> None:
    tail = LogTail(str(path))
    path.rename(path.with_suffix(".1"))
    assert (list(tail.lines()), tail.lost) == ([], False)
    path.mkdir()
    assert (list(tail.lines()), tail.lost) == ([], True)
    path.rmdir()
    path.write_text("new\n")
    assert (list(tail.lines()), tail.lost) == (["new"], False)


def test_truncation_in_place_is_read_from_the_start(path: Path) -> None:
    tail = LogTail(str(path))
    path.write_text("x\n")
    assert list(tail.lines()) == ["x"]


def test_a_line_without_end_takes_no_more_than_its_share_of_memory(path: Path) -> None:
    tail = LogTail(str(path))
    append(path, "x" * 1_000_000)
    assert list(tail.lines()) == []
    append(path, "end\n")
    (line,) = tail.lines()
    assert line.endswith("xend")
    assert len(line) <= 17 * 1024


def test_bytes_that_are_no_text_do_no_harm(path: Path) -> None:
    tail = LogTail(str(path))
    with path.open("ab") as file:
        file.write(b"\xff\xfe\x00\n")
    assert len(list(tail.lines())) == 1


def test_a_folder_or_a_pipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no regular file"):
        LogTail(str(tmp_path))
