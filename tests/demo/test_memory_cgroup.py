from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.demo import memory_cgroup

VERSION_1 = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
"""
VERSION_2 = "29 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - cgroup2 cgroup2 rw,nsdelegate\n"


def test_version_1_begins_at_our_own_cgroup_of_the_memory_controller() -> None:
    own = "5:cpu,cpuacct:/elsewhere\n4:memory:/user.slice/mine\n0::/\n"
    memory = Path("/sys/fs/cgroup/memory")
    assert list(memory_cgroup.places(VERSION_1, own)) == [
        (memory / "user.slice/mine", 1),
        (memory / "user.slice", 1),
        (memory, 1),
    ]


def test_version_2_climbs_from_our_own_cgroup_to_the_top_of_the_mount() -> None:
    top = Path("/sys/fs/cgroup")
    assert list(memory_cgroup.places(VERSION_2, "0::/a.slice/b.scope\n")) == [
        (top / "a.slice/b.scope", 2),
        (top / "a.slice", 2),
        (top, 2),
    ]


def test_a_container_that_sees_only_its_part_of_the_tree_counts_from_there() -> None:
    mounted = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro,relatime - cgroup cgroup rw,memory\n"
    memory = Path("/sys/fs/cgroup/memory")
    assert list(memory_cgroup.places(mounted, "4:memory:/docker/abc\n")) == [(memory, 1)]
    # A cgroup namespace shows a path that leads out of the mount.
    assert list(memory_cgroup.places(mounted, "4:memory:/\n")) == [(memory, 1)]


def _made(name: str, limit: int) -> memory_cgroup.MemoryCgroup:
    try:
        return memory_cgroup.make(name, limit)
    except memory_cgroup.NoCgroupError as error:
        pytest.skip(f"no memory cgroup may be made here: {error}")


@pytest.mark.live
def test_the_kernel_kills_who_takes_more_than_the_limit_and_counts_it() -> None:
    cgroup = _made(f"floodmark-test-{os.getpid()}-limit", 32 << 20)
    try:
        assert cgroup.oom_kills() == 0
        greedy = subprocess.run(cgroup.entering([sys.executable, "-c", "bytes(64 << 20)"]), check=False)
        modest = subprocess.run(cgroup.entering([sys.executable, "-c", ""]), check=False)
        assert (greedy.returncode, modest.returncode) == (0, 0)  # asked for, never touched
        greedy = subprocess.run(cgroup.entering([sys.executable, "-c", "b'x' * (64 << 20)"]), check=False)
        assert greedy.returncode == -9
        assert cgroup.oom_kills() == 1
    finally:
        cgroup.remove()


@pytest.mark.live
def test_removing_takes_along_what_still_runs_in_it() -> None:
    cgroup = _made(f"floodmark-test-{os.getpid()}-left", 32 << 20)
    left = subprocess.Popen(cgroup.entering(["sleep", "600"]))
    cgroup.remove()
    assert not cgroup.path.exists()
    # Either it was in there already, or the folder was gone before it could enter.
    assert left.wait(timeout=10) != 0
