"""Memory cgroups, both versions."""

from pathlib import Path

import pytest

from floodmark.sources import cgroup

MIB = 1 << 20


def host(tmp_path: Path, membership: str, files: dict[str, str]) -> cgroup.MemoryCgroup | None:
    process = tmp_path / "proc/42"
    process.mkdir(parents=True)
    (process / "cgroup").write_text(membership)
    for name, text in files.items():
        file = tmp_path / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return cgroup.find(tmp_path / "proc", tmp_path, 42)


def test_version_1_tells_limit_headroom_without_cache_and_kills(tmp_path: Path) -> None:
    found = host(
        tmp_path,
        "9:name=systemd:/\n4:memory:/pod\n0::/\n",
        {
            "memory/pod/cgroup.procs": "42\n",
            "memory/pod/memory.limit_in_bytes": f"{200 * MIB}\n",
            "memory/pod/memory.usage_in_bytes": f"{150 * MIB}\n",
            "memory/pod/memory.stat": f"cache 1\ntotal_inactive_file {30 * MIB}\n",
            "memory/pod/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        },
    )
    assert found
    assert found.limit_and_headroom() == (200 * MIB, 80 * MIB)
    assert found.oom_kills() == 2


def test_version_2_takes_the_tightest_of_nested_limits(tmp_path: Path) -> None:
    found = host(
        tmp_path,
        "0::/app.slice/shop.service\n",
        {
            "app.slice/memory.max": f"{100 * MIB}\n",
            "app.slice/memory.current": f"{95 * MIB}\n",
            "app.slice/memory.stat": "inactive_file 0\n",
            "app.slice/shop.service/cgroup.procs": "42\n",
            "app.slice/shop.service/memory.max": "max\n",
            "app.slice/shop.service/memory.events": "low 0\noom 3\noom_kill 1\n",
        },
    )
    assert found
    assert found.limit_and_headroom() == (100 * MIB, 5 * MIB)
    assert found.oom_kills() == 1


@pytest.mark.parametrize("unlimited", ["9223372036854771712", "9007199254740988\n"])
def test_version_1_without_limit_is_no_limit(tmp_path: Path, unlimited: str) -> None:
    value = int(unlimited) if int(unlimited) > 1 << 60 else int(unlimited) * 1024
    found = host(
        tmp_path,
        "4:memory:/pod\n",
        {"memory/pod/cgroup.procs": "", "memory/pod/memory.limit_in_bytes": str(value)},
    )
    assert found
    assert found.limit_and_headroom() is None


def test_a_cgroup_that_cannot_be_seen_from_here_is_none(tmp_path: Path) -> None:
    assert host(tmp_path, "0::/../../elsewhere\n", {}) is None


def test_a_kernel_that_does_not_count_kills_says_so(tmp_path: Path) -> None:
    found = host(
        tmp_path,
        "0::/a\n",
        {"a/cgroup.procs": "", "a/memory.events": "low 0\n"},
    )
    assert found
    with pytest.raises(ValueError, match="oom_kill"):
        found.oom_kills()


def test_inside_a_container_the_mount_itself_is_the_cgroup_and_has_its_limit(tmp_path: Path) -> None:
    found = host(
        tmp_path,
        "4:memory:/docker/0123abc\n",
        {
            "memory/cgroup.procs": "1\n42\n",
            "memory/memory.limit_in_bytes": f"{64 * MIB}\n",
            "memory/memory.usage_in_bytes": f"{60 * MIB}\n",
            "memory/memory.stat": "total_inactive_file 0\n",
            "memory/memory.oom_control": "oom_kill 3\n",
        },
    )
    assert found
    assert found.limit_and_headroom() == (64 * MIB, 4 * MIB)
    assert found.oom_kills() == 3


def test_a_cgroup_namespace_shows_the_limit_at_its_root(tmp_path: Path) -> None:
    files = {"cgroup.procs": "42\n", "memory.max": "100\n", "memory.current": "90\n"}
    found = host(tmp_path, "0::/\n", files | {"memory.stat": "inactive_file 0\n"})
    assert found
    assert found.limit_and_headroom() == (100, 10)
