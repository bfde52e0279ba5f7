"""Multiprocess files, written by prometheus_client, merged by floodmark, and read by prometheus_client."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import psutil
import pytest

from floodmark import multiproc as module
from floodmark.multiproc import Folder, Merging
from floodmark.sources import lease, multiproc
from floodmark.sources.available import Available
from tests.support.live import ROOT, until
from tests.support.multiproc import Process, collected, expected, page, without, workers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ALL = "gauge_all_level_seconds"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "prometheus"
    folder.mkdir()
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_is_served_is_what_the_librarys_own_collector_says(folder: Path, tmp_path: Path) -> None:
    workers(folder, 5)
    with Process(folder, 6) as living:
        living.work(6)
        assert page(Folder(folder).families()) == expected(folder, tmp_path)


def test_after_a_merge_the_librarys_collector_says_the_same_as_if_the_dead_were_marked(
    folder: Path, tmp_path: Path
) -> None:
    workers(folder, 10)
    with Process(folder, 11) as living:
        living.work(11)
        said = expected(folder, tmp_path, dead=range(1, 11))
        assert Folder(folder).merge() == {}
        assert collected(folder) == said
        assert page(Folder(folder).families()) == said
        assert {name for name in names(folder) if name.startswith("counter")} == {
            "counter_11.db",
            "counter_floodmark-1.db",
        }
        # What the living one counts later comes on top.
        living.work(1)
        assert collected(folder) == page(Folder(folder).families()) != said


def test_merged_files_are_merged_again_with_what_died_since(folder: Path, tmp_path: Path) -> None:
    merging = Folder(folder)
    for first in (1, 4, 7):
        workers(folder, 3, first)
        said = expected(folder, tmp_path, dead=range(1, 10))
        merging.merge()
        assert collected(folder) == said
    assert {name for name in names(folder) if not name.startswith("gauge_all")} == {
        f"{group}_floodmark-3.db"
        for group in (
            *("counter", "histogram", "summary"),
            *(f"gauge_{mode}" for mode in ("min", "max", "sum", "mostrecent")),
        )
    }
    before = {name: (folder / name).stat().st_ino for name in names(folder)}
    merging.merge()
    assert {name: (folder / name).stat().st_ino for name in names(folder)} == before


def test_more_dead_files_than_are_merged_at_a_time_add_up(folder: Path, tmp_path: Path) -> None:
    workers(folder, 2 * module.BATCH + 3)
    said = without(expected(folder, tmp_path, dead=range(1, 2 * module.BATCH + 4)), ALL)
    Folder(folder).merge()
    assert without(collected(folder), ALL) == said
    assert len(names(folder)) == module.KEPT_PIDS + 7


def test_of_gauges_with_a_series_for_each_pid_the_living_and_the_last_dead_are_kept(folder: Path) -> None:
    with Process(folder, 1) as living:
        living.work(1)
        for pid in range(2, 40):
            workers(folder, 1, pid)
            os.utime(folder / f"gauge_all_{pid}.db", (pid, pid))
        Folder(folder).merge()
        found = collected(folder).items()
    kept = {int(dict(labels)["pid"]): value for (*_, name, labels), value in found if name == ALL}
    assert kept == {pid: pid for pid in (1, *range(40 - module.KEPT_PIDS, 40))}


def test_a_new_process_of_an_old_pid_continues_its_file_and_keeps_it(folder: Path, tmp_path: Path) -> None:
    workers(folder, 2)
    with Process(folder, 2) as reborn:
        reborn.work(5)
        said = expected(folder, tmp_path, dead=[1])
        Folder(folder).merge()
        assert "counter_2.db" in names(folder)
        assert collected(folder) == said
    with Process(folder, 1) as reborn:
        reborn.work(3)  # in a new file: the old one is merged
        said = expected(folder, tmp_path)
        assert page(Folder(folder).families()) == said


def test_a_process_that_opens_a_file_while_it_is_merged_goes_on_with_all_of_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers(folder, 3)
    reborn = Process(folder, 2)
    opening = threading.Thread(target=reborn.add, args=("counter", "requests_total", 100, {"method": "GET"}))
    replace = module._replace

    def opened_just_before(folder: int, dead: list[module._Dead], name: str) -> bool:
        if not opening.ident:
            opening.start()
            until(
                lambda: not all(lease.holds(each.descriptor) for each in dead), 10, "it waits for the lease"
            )
        return replace(folder, dead, name)

    monkeypatch.setattr(module, "_replace", opened_just_before)
    before = collected(folder)
    Folder(folder).merge()
    opening.join(10)
    assert "counter_2.db" in names(folder)
    key = next(key for key in before if key[2] == "requests_total" and ("method", "GET") in key[3])
    assert collected(folder)[key] == before[key] + 100
    reborn.die()
    Folder(folder).merge()
    assert collected(folder)[key] == before[key] + 100


def test_a_file_that_a_child_inherited_is_alive_though_its_parent_died(folder: Path) -> None:
    workers(folder, 1)
    parent = (
        "import os, sys, time\n"
        "from prometheus_client.mmap_dict import MmapedDict\n"
        "file = MmapedDict(sys.argv[1])\n"
        "child = os.fork()\n"
        "if child: print(child, flush=True); os._exit(0)\n"
        "os.close(1)\n"
        "file._f.close()\n"  # only the mapping is left
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", parent, str(folder / "counter_1.db")]
    child = int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    try:
        Folder(folder).merge()
        assert "counter_1.db" in names(folder)
        assert "histogram_1.db" not in names(folder)
    finally:
        os.kill(child, 9)
    until(
        lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie", 10, "it is dead"
    )
    Folder(folder).merge()
    assert "counter_1.db" not in names(folder)


@contextlib.contextmanager
def killed_merges() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.support.merging_killed"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        assert process.stdin
        process.stdin.close()


def killed(process: subprocess.Popen[str], folder: Path, step: int) -> bool:
    assert process.stdin
    assert process.stdout
    process.stdin.write(f"{folder} {step}\n")
    process.stdin.flush()
    answer = process.stdout.readline().strip()
    assert answer in ("killed", "done")
    return answer == "killed"


def test_killed_before_any_of_its_steps_nothing_is_lost_and_nothing_counted_twice(tmp_path: Path) -> None:
    seed = tmp_path / "seed"
    seed.mkdir()
    for pid in (1, 2, 3):
        with Process(seed, pid) as process:
            process.add("counter", "requests_total", pid)
            process.add("gauge_max", "size_seconds", pid)
            process.add("gauge_livesum", "busy_seconds", pid)
        if pid == 1:
            Folder(seed).merge()  # so that there is a merged file to merge again
    said = expected(seed, tmp_path, dead=(2, 3))
    marked_or_not = {
        frozenset(expected(seed, tmp_path, dead=dead).items()) for dead in ((), (2,), (3,), (2, 3))
    }
    step, guarded = 0, 0
    with killed_merges() as process:
        while True:
            step += 1
            folder = tmp_path / "killed"
            shutil.copytree(seed, folder)
            if not killed(process, folder, step):
                break
            try:
                found = collected(folder)
            except FileNotFoundError:
                guarded += 1  # an error, never a wrong number
            else:
                assert frozenset(found.items()) in marked_or_not, step
            # Killed a second time, wherever it is by then, and a third.
            killed(process, folder, step // 2 + 3)
            killed(process, folder, 12)
            Folder(folder).merge()
            assert collected(folder) == said, step
            assert not [name for name in names(folder) if name.startswith(".")]
            shutil.rmtree(folder)
    assert collected(folder) == said
    assert step > 50
    assert guarded


def test_a_new_file_in_the_place_of_one_that_a_crash_left_aside_is_not_overwritten(folder: Path) -> None:
    with Process(folder, 1) as process:
        process.add("counter", "requests_total", 4)
    (folder / "counter_1.db").rename(folder / ".floodmark.aside.counter_1.db")
    (folder / ".floodmark.merged").touch()
    with Process(folder, 1) as reborn:
        reborn.add("counter", "requests_total", 3)
        Folder(folder).merge()
        assert list(collected(folder).values()) == [7]
        reborn.add("counter", "requests_total", 1)
        assert list(collected(folder).values()) == [8]


def test_no_scrape_during_merges_sees_a_count_twice_or_missing(folder: Path) -> None:
    merging, dead, stop, seen = Folder(folder), 0, threading.Event(), []

    def scrape() -> None:
        while not stop.is_set():
            seen.append(sum(page(merging.families()).values()))

    with Process(folder, 1000) as living:
        living.add("counter", "requests_total", 1)
        for pid in range(1, 31):
            with Process(folder, pid) as process:
                process.add("counter", "requests_total", 1)
        scraping = threading.Thread(target=scrape)
        scraping.start()
        for _ in range(40):
            merging.merge()
            with Process(folder, 2000 + dead) as process:
                process.add("counter", "other_total", 0)
            dead += 1
        stop.set()
        scraping.join()
    assert set(seen) == {31}


def test_a_folder_that_another_floodmark_merges_is_left_to_it(folder: Path) -> None:
    workers(folder, 2)
    before = names(folder)
    other = os.open(folder, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    Folder(folder).merge()
    assert names(folder) == before
    (folder / "counter_floodmark-merging.db").symlink_to("nothing")
    with pytest.raises(module.ChangingError):
        Folder(folder).families()
    os.close(other)
    Folder(folder).merge()
    assert names(folder) != before


def test_a_wiped_folder_stays_wiped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workers(folder, 3)
    write = module._write  # noqa: SLF001 - the moment in between

    def wiped_just_after(*arguments: object) -> None:
        write(*arguments)  # type: ignore[arg-type]
        for file in folder.glob("*.db"):
            file.unlink()

    monkeypatch.setattr(module, "_write", wiped_just_after)
    Folder(folder).merge()
    assert names(folder) == set()


def test_a_file_begun_anew_in_a_wiped_folder_is_not_taken_for_the_dead_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Process(folder, 1) as process:
        process.add("counter", "requests_total", 4)
    reborn = Process(folder, 1)
    write = module._write  # noqa: SLF001 - the moment in between

    def begun_anew_just_after(*arguments: object) -> None:
        write(*arguments)  # type: ignore[arg-type]
        (folder / "counter_1.db").unlink()
        reborn.add("counter", "requests_total", 1)

    monkeypatch.setattr(module, "_write", begun_anew_just_after)
    Folder(folder).merge()
    assert names(folder) == {"counter_1.db"}
    reborn.add("counter", "requests_total", 1)
    assert list(collected(folder).values()) == [2]
    reborn.die()


def test_a_file_that_is_none_of_prometheus_client_is_left_alone_and_told_and_all_others_count(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workers(folder, 3)
    said = expected(folder, tmp_path, dead=(1, 2, 3))
    garbage = {
        "counter_90.db": b"garbage" * 1000,
        "counter_91.db": b"\x10\0\0",
        "counter_92.db": b"\xff\xff\xff\x7f" + b"\0" * 100,
        "counter_93.db": b"\x40\0\0\0\0\0\0\0" + b"\x14\0\0\0" + b"[1, 2, 3, 4, 5, 6, 7]" + b"\0" * 100,
        "counter_94.db": b"\x28\0\0\0\0\0\0\0" + b"\xf0\xff\xff\xff" + b"\0" * 100,
    }
    for name, content in garbage.items():
        (folder / name).write_bytes(content)
    (folder / "counter_95.db").symlink_to("/etc/hostname")
    os.mkfifo(folder / "counter_96.db")
    (folder / "counter_97.db").touch()  # a process that is just about to begin
    merging = Merging({"shop": Folder(folder)}, Available())
    merging.once()
    merging.once()
    assert page(Folder(folder).families()) == said
    assert {name: (folder / name).read_bytes() for name in garbage} == garbage
    assert len(caplog.records) == 1
    assert caplog.messages[0].startswith("left out and left alone: counter_90.db and 6 more: ")


def test_files_of_a_prometheus_client_before_018_are_an_error_and_left_alone(folder: Path) -> None:
    # As 0.17.1 wrote them: no timestamp behind the value. One row, then three.
    row = _old_row('["a", "a_total", {}, "A."]')
    for pid, rows in ((1, row), (2, row * 3)):
        (folder / f"counter_{pid}.db").write_bytes(
            (8 + len(rows)).to_bytes(4, "little") + b"\0" * 4 + rows.ljust((1 << 16) - 8, b"\0")
        )
    before = names(folder)
    assert set(Folder(folder).merge()) == before
    assert names(folder) == before
    with pytest.raises(multiproc.UnreadableError, match=r"0\.18"):
        Folder(folder).families()


def _old_row(key: str) -> bytes:
    padded = key.encode() + b" " * (8 - (len(key) + 4) % 8)
    return len(key).to_bytes(4, "little") + padded + b"\0" * 6 + b"\xf0\x3f"


def test_a_full_disk_loses_nothing_and_is_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers(folder, 2)
    before, said = names(folder), expected(folder, tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        Folder(folder).merge()
    assert names(folder) == before
    assert collected(folder) == said
    monkeypatch.undo()
    Folder(folder).merge()
    assert len([name for name in names(folder) if name.startswith("counter")]) == 1


def test_the_merged_file_can_be_read_by_who_could_read_the_others(folder: Path) -> None:
    workers(folder, 2)
    (folder / "counter_1.db").chmod(0o640)
    (folder / "counter_2.db").chmod(0o604)
    if os.geteuid() == 0:
        os.chown(folder / "counter_1.db", 33, 33)
    wanted = (folder / "counter_1.db").stat()
    Folder(folder).merge()
    merged = (folder / "counter_floodmark-1.db").stat()
    assert (merged.st_uid, merged.st_gid, merged.st_mode & 0o777) == (wanted.st_uid, wanted.st_gid, 0o644)


def test_2000_dead_processes_are_merged_in_little_memory(folder: Path) -> None:
    with Process(folder, 1) as process:
        process.work(1)
    for source in list(folder.iterdir()):
        for pid in range(2, 2001):
            shutil.copy(source, folder / source.name.replace("_1.", f"_{pid}."))
    measure = (
        "import resource, sys; from pathlib import Path; from floodmark.multiproc import Folder\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "folder = Folder(Path(sys.argv[1])); folder.merge(); folder.families()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    command = [sys.executable, "-c", measure, str(folder)]
    grown = int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    assert grown < 2 << 10  # KiB
    assert collected(folder)[("counter", "Help.", "requests_total", frozenset({("method", "GET")}))] == 2000
