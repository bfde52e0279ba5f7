"""systemd's journal, read from files that its own writer made: tests/fixtures/README.md says how."""

import gzip
import os
import struct
from pathlib import Path

import pytest

from floodmark.sources import journal
from floodmark.sources.journal import Journal

FIXTURES = Path(__file__).parent.parent / "fixtures/attribution"
TIMEOUT = "[2026-11-20 07:27:51 +0000] [539] [CRITICAL] WORKER TIMEOUT (pid:561)"
KILLED = "[2026-11-20 07:27:52 +0000] [539] [ERROR] Worker (pid:561) was sent SIGKILL! Perhaps out of memory?"
RELOAD = "[2026-11-20 07:27:53 +0000] [700] [INFO] Handling signal: hup"  # of blog.service
BOOTING = "[2026-11-20 07:27:54 +0000] [562] [INFO] Booting worker with pid: 562"
FIRST = 1795160000000000  # microseconds; each entry has one more
TAIL, NUMBER, TIME = 136, 160, 192  # of the header


class File:
    """A journal that is made to look as if its last entries weren't written yet."""

    def __init__(self, path: Path, recorded: bytes) -> None:
        self.path = path
        self.recorded = recorded
        path.write_bytes(recorded)

    def number(self, at: int) -> int:
        (value,) = struct.unpack_from("<Q", self.recorded, at)
        assert isinstance(value, int)
        return value

    def entry(self, number: int) -> int:
        """Return where an entry starts."""
        at = self.number(88)
        while True:
            kind, size, seqnum = struct.unpack_from("<B7xQQ", self.recorded, at)
            if kind == 3 and seqnum == number:
                return int(at)
            at += (size + 7) & ~7

    def put(self, at: int, value: int) -> None:
        with self.path.open("r+b") as file:
            file.seek(at)
            file.write(struct.pack("<Q", value))

    def rewind(self, entries: int) -> None:
        """Make it end with so many entries."""
        self.put(TAIL, self.entry(entries))
        self.put(NUMBER, entries)
        self.put(TIME, FIRST + entries - 1)

    def complete(self) -> None:
        for at in (TAIL, NUMBER, TIME):
            self.put(at, self.number(at))


@pytest.fixture(params=["regular", "compact"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> File:
    return File(
        tmp_path / "system.journal",
        gzip.decompress((FIXTURES / f"journal-{request.param}.gz").read_bytes()),
    )


def test_what_was_there_is_not_read_and_what_is_appended_is_once(file: File) -> None:
    file.rewind(1)
    followed = Journal([str(file.path)], None)
    assert list(followed.lines()) == []
    file.complete()
    assert list(followed.lines()) == [KILLED, RELOAD, BOOTING]
    assert list(followed.lines()) == []


def test_only_the_units_lines_are_read(file: File) -> None:
    file.rewind(1)
    followed = Journal([str(file.path)], "shop.service")
    file.complete()
    assert list(followed.lines()) == [KILLED, BOOTING]


def test_an_entry_that_is_being_written_waits(file: File) -> None:
    file.rewind(1)
    followed = Journal([str(file.path)], None)
    file.complete()
    file.put(TIME, FIRST + 1)  # the last three have their room in the file, but aren't linked yet
    assert list(followed.lines()) == [KILLED]
    file.complete()
    assert list(followed.lines()) == [RELOAD, BOOTING]


def test_rotation_loses_no_line(file: File) -> None:
    file.rewind(4)
    followed = Journal([str(file.path)], None)
    file.complete()
    file.path.rename(file.path.with_name("system@0001.journal"))
    assert list(followed.lines()) == [BOOTING]
    File(file.path, file.recorded)
    assert list(followed.lines()) == [TIMEOUT, KILLED, RELOAD, BOOTING]


def test_damage_costs_what_is_damaged_alone(file: File) -> None:
    file.rewind(1)
    followed = Journal([str(file.path)], None)
    file.rewind(3)
    file.put(file.entry(2) + 8, 3)  # a size that can't be
    assert list(followed.lines()) == []
    file.complete()
    assert list(followed.lines()) == [RELOAD, BOOTING]


def test_a_file_cut_short_is_survived(file: File) -> None:
    file.rewind(1)
    followed = Journal([str(file.path)], None)
    file.complete()
    for size in (file.number(TAIL), 1000, 100, 0):
        os.truncate(file.path, size)
        list(followed.lines())


def test_no_journal_and_a_newer_format_are_refused(file: File, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("no journal")
    with pytest.raises(ValueError, match="no journal"):
        Journal([str(file.path), str(other)], None)
    with file.path.open("r+b") as opened:
        opened.seek(12)
        opened.write(struct.pack("<I", 1 << 20))
    with pytest.raises(ValueError, match="newer format"):
        Journal([str(file.path)], None)


def test_the_files_that_are_written_to_are_found_wherever_they_are_kept(tmp_path: Path) -> None:
    for name in (
        "var/log/journal/m/system.journal",
        "run/log/journal/m/user-1000.journal",
        "run/log/journal/README",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "var/log/journal/m/system@0001-0002.journal").touch()
    assert [path.removeprefix(str(tmp_path)) for path in journal.files(str(tmp_path))] == [
        "/var/log/journal/m/system.journal",
        "/run/log/journal/m/user-1000.journal",
    ]
    assert journal.files(str(tmp_path / "none")) == []


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/shop.service\n", "shop.service"),
        ("4:memory:/\n1:name=systemd:/system.slice/shop.service/workers\n", "shop.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/shop.service\n", "user@1000.service"),
        ("0::/user.slice/user-0.slice/session-1.scope\n", None),
    ],
)
def test_a_processs_unit_is_that_of_the_journal(cgroup: str, unit: str | None) -> None:
    assert journal.unit(cgroup) == unit
