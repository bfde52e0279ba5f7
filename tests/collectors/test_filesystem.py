"""The filesystem collector."""

from pathlib import Path

import pytest

from floodmark.collectors import filesystem
from floodmark.exposition import render
from tests.fixtures.hosts import facts, lay_out, series


def mounted(root: Path, *lines: str, pid: str = "1") -> Path:
    """Make a host with these mounts, and folders where there should be one."""
    (root / "proc" / pid).mkdir(parents=True)
    (root / "proc" / pid / "mountinfo").write_bytes("\n".join(lines).encode(errors="surrogateescape"))
    return root


def errors(root: Path) -> dict[tuple[str, ...], float]:
    """Device, type and mountpoint of each file system that is told of: 1 if it failed."""
    found = series(filesystem.collect(facts(root)))
    return {key[1:]: value for key, value in found.items() if key[0] == "node_filesystem_device_error"}


def test_what_a_person_would_call_a_file_system_is_told(tmp_path: Path) -> None:
    assert errors(lay_out("t3-micro", tmp_path / "host")) == {
        ("tmpfs", "tmpfs", "/run"): 0,
        ("/dev/root", "ext4", "/"): 0,
        ("/dev/nvme0n1p15", "vfat", "/boot/efi"): 0,
        ("/dev/mapper/vg0-data", "xfs", "/srv/my data"): 0,
        ("/dev/root", "ext4", "/srv/www"): 0,
        ("10.0.0.7:/export", "nfs4", "/mnt/nas"): 1,
        ("s3fs", "fuse.s3fs", "/srv/media"): 0,
    }


def test_one_that_fails_tells_only_that_and_whether_it_is_read_only(tmp_path: Path) -> None:
    found = series(filesystem.collect(facts(lay_out("t3-micro", tmp_path / "host"))))
    nas = {key[0]: value for key, value in found.items() if key[3] == "/mnt/nas"}
    assert nas == {"node_filesystem_device_error": 1, "node_filesystem_readonly": 1}
    root = {key[0]: value for key, value in found.items() if key[3] == "/"}
    assert root.keys() == {
        "node_filesystem_device_error",
        "node_filesystem_readonly",
        "node_filesystem_size_bytes",
        "node_filesystem_free_bytes",
        "node_filesystem_avail_bytes",
    }
    assert root["node_filesystem_size_bytes"] >= root["node_filesystem_avail_bytes"] > 0


@pytest.mark.parametrize(
    ("mountpoint", "fstype", "told"),
    [
        ("/", "ext4", True),
        ("/run/lock", "tmpfs", True),
        ("/developers", "ext4", True),
        ("/var/lib/docker", "ext4", True),
        ("/srv/fuse", "fuse.s3fs", True),
        ("/srv/nfs", "nfs4", True),
        ("/dev/shm", "tmpfs", False),  # noqa: S108 - a mountpoint's name
        ("/run/credentials/systemd-sysusers.service", "ramfs", False),
        ("/var/lib/docker/overlay2/0f9c/merged", "ext4", False),
        ("/snap/core20/1974", "squashfs", False),
        ("/sys/fs/cgroup", "cgroup2", False),
        ("/cdrom", "iso9660", False),
    ],
)
def test_what_a_file_system_is_follows_node_exporter(
    tmp_path: Path,
    mountpoint: str,
    fstype: str,
    told: bool,  # noqa: FBT001 - a column of the table
) -> None:
    host = mounted(tmp_path, f"28 1 259:1 / {mountpoint} rw - {fstype} thing rw")
    assert bool(errors(host)) is told


def test_a_mount_hidden_under_another_one_is_not_told_with_the_numbers_of_that(tmp_path: Path) -> None:
    host = mounted(
        tmp_path,
        "1 0 0:1 / / rw - rootfs rootfs rw",
        "28 1 259:1 / / rw - ext4 /dev/root rw",
        "29 28 259:2 / /srv rw - ext4 /dev/sdb1 rw",
        "30 29 0:9 / /srv rw - overlay overlay rw",
    )
    assert errors(host) == {("/dev/root", "ext4", "/"): 0}


def test_where_process_1_is_hidden_our_own_mounts_are_told_as_the_host_names_them(tmp_path: Path) -> None:
    root = tmp_path / "host"
    (root / "data").mkdir(parents=True)
    mounted(
        root,
        "50 1 0:40 / / rw - overlay overlay rw",
        "51 50 259:1 /hosts /etc/hosts rw - ext4 /dev/root rw",
        f"52 50 259:1 / {root} ro - ext4 /dev/root rw",
        f"53 52 259:2 / {root}/data ro - xfs /dev/sdb1 rw",
        f"54 50 259:3 / {root}backup ro - xfs /dev/sdc1 rw",
        pid="self",
    )
    assert errors(root) == {("/dev/root", "ext4", "/"): 0, ("/dev/sdb1", "xfs", "/data"): 0}


def test_a_name_that_is_no_utf8_costs_itself_only(tmp_path: Path) -> None:
    host = mounted(
        tmp_path, "28 1 0:40 / /sn\udcf6 rw - tmpfs caf\udce9 rw", "29 1 0:41 / / rw - ext4 /dev/sda rw"
    )
    page = render(filesystem.collect(facts(host))).body.decode()
    assert (
        'node_filesystem_device_error{device="caf\ufffd",fstype="tmpfs",mountpoint="/sn\ufffd"} 1.0' in page
    )
    assert 'node_filesystem_device_error{device="/dev/sda",fstype="ext4",mountpoint="/"} 0.0' in page
