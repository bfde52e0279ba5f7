"""statvfs of many file systems, some of them dead."""

import ctypes
import errno
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from floodmark.sources.statvfs import FileSystems, Usage

PATIENCE = 0.5  # for those that do answer: a busy machine must not make a test of its speed


class Hanging:
    """os.statvfs, but for some paths that don't answer until they are released, and some that fail."""

    def __init__(self, *hanging: str) -> None:
        self.hanging = set(hanging)
        self.calls: list[str] = []
        self.released = threading.Event()

    def __call__(self, path: str) -> os.statvfs_result:
        """Answer, hang or fail."""
        self.calls.append(path)
        if path in self.hanging:
            self.released.wait(30)
        return os.statvfs("/")


def waiting() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "statvfs"]


def settled() -> None:
    """Wait until no thread waits for a file system."""
    for thread in waiting():
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    fake = Hanging("/nfs1", "/nfs2")
    yield fake
    fake.released.set()
    settled()


def test_size_and_free_are_those_of_the_file_system(tmp_path: Path) -> None:
    found = FileSystems().usage([str(tmp_path)])[str(tmp_path)]
    assert found.size == shutil.disk_usage(tmp_path).total
    assert found.size >= found.free >= found.avail > 0


def test_a_path_that_is_not_there_is_missing_and_hides_no_other(tmp_path: Path) -> None:
    assert list(FileSystems().usage([str(tmp_path / "gone"), "/"])) == ["/"]


def test_file_systems_that_hang_are_missing_and_the_others_are_there(hanging: Hanging) -> None:
    found = FileSystems(PATIENCE, hanging).usage(["/a", "/nfs1", "/b", "/nfs2", "/c"])
    assert sorted(found) == ["/a", "/b", "/c"]


def test_one_that_hangs_is_not_asked_again_and_keeps_one_thread_only(hanging: Hanging) -> None:
    file_systems = FileSystems(PATIENCE, hanging)
    for _ in range(5):
        assert sorted(file_systems.usage(["/nfs1", "/a", "/nfs2"])) == ["/a"]
    assert sorted(set(hanging.calls)) == ["/a", "/nfs1", "/nfs2"]
    assert hanging.calls.count("/nfs1") == hanging.calls.count("/nfs2") == 1
    assert len(waiting()) == 2


def test_one_that_answers_again_is_asked_again(hanging: Hanging) -> None:
    file_systems = FileSystems(PATIENCE, hanging)
    assert file_systems.usage(["/nfs1"]) == {}
    hanging.released.set()
    settled()
    assert isinstance(file_systems.usage(["/nfs1"])["/nfs1"], Usage)


@pytest.mark.live
def test_a_real_file_system_that_never_answers_holds_up_nobody(tmp_path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    dead = tmp_path / "dead"
    dead.mkdir()
    try:
        # FUSE without a program behind it: the kernel asks and nobody answers.
        fuse = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"no /dev/fuse here: {error}")
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"dead", os.fsencode(dead), b"fuse", 0, options):
        os.close(fuse)
        assert ctypes.get_errno() == errno.EPERM
        pytest.skip("mounting needs root")
    file_systems = FileSystems(PATIENCE)
    try:
        assert list(file_systems.usage([str(dead), str(tmp_path)])) == [str(tmp_path)]
        assert len(waiting()) == 1
    finally:
        os.close(fuse)  # and the kernel answers: not connected
        settled()
        libc.umount2(os.fsencode(dead), 0)
    assert list(file_systems.usage([str(dead), str(tmp_path)])) == [str(dead), str(tmp_path)]
