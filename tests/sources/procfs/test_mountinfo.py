r"""/proc/PID/mountinfo."""

from pathlib import Path

import pytest

from floodmark.sources.procfs import mountinfo
from floodmark.sources.procfs.mountinfo import Mount
from tests.fixtures.hosts import FIXTURES


def test_a_recorded_host_is_read() -> None:
    mounts = mountinfo.read(FIXTURES / "vm-cgroup1" / "proc", "1")
    assert Mount("/dev/vda", "/", "ext4", readonly=False) in mounts


@pytest.mark.parametrize(
    ("escaped", "name"),
    [
        (r"/srv/my\040data", "/srv/my data"),
        (r"/a\011b\012c", "/a\tb\nc"),
        (r"/back\134slash", r"/back\slash"),
        (r"/no\04escape", r"/no\04escape"),
        ("/snö", "/snö"),
    ],
)
def test_a_mountpoints_escapes_are_undone_once(escaped: str, name: str) -> None:
    (mount,) = mountinfo.parse(f"70 28 253:0 / {escaped} rw - xfs /dev/mapper/vg0-data rw\n")
    assert mount.mountpoint == name


@pytest.mark.parametrize(
    ("mount", "file_system", "readonly"),
    [("rw", "rw", False), ("ro,nosuid", "rw", True), ("rw", "ro,attr2", True), ("rw,romantic", "rw", False)],
)
def test_read_only_is_the_mount_or_its_file_system(mount: str, file_system: str, readonly: bool) -> None:  # noqa: FBT001 - a column of the table
    (found,) = mountinfo.parse(f"70 28 253:0 / /srv {mount} shared:1 master:2 - xfs /dev/sdb {file_system}\n")
    assert found.readonly is readonly


def test_a_device_may_have_no_name() -> None:
    (mount,) = mountinfo.parse("70 28 0:40 / /srv rw - tmpfs  rw,size=1024k\n")
    assert mount == ("", "/srv", "tmpfs", False)


def test_a_name_that_is_no_utf8_and_holds_a_carriage_return_is_read(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "mountinfo").write_bytes(b"70 28 0:40 / /sn\xf6\rw rw - tmpfs none rw\n")
    (mount,) = mountinfo.read(tmp_path, "self")
    assert mount.mountpoint == "/sn\udcf6\rw"


@pytest.mark.parametrize(
    "broken", ["70 28 253:0 / /srv", "70 28 253:0 / /srv rw shared:1", "70 28 253:0 / /srv rw - xfs"]
)
def test_a_truncated_line_is_an_error_that_shows_it(broken: str) -> None:
    with pytest.raises(ValueError, match=rf"^mountinfo: .*expected.*{broken}"):
        mountinfo.parse(f"{broken}\n")
