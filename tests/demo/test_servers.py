from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.demo import servers

SCRIPT = Path(servers.__file__)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an empty PATH folder (returned) and an empty cache."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def _program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_upstreams_and_debians_name_on_path_are_both_found(bare: Path) -> None:
    debians = _program(bare / "prometheus-alertmanager")
    assert servers.find("alertmanager") == debians
    upstreams = _program(bare / "alertmanager")
    assert servers.find("alertmanager") == upstreams


def test_path_wins_over_the_cache(bare: Path) -> None:
    cached = _program(servers.cache() / "prometheus" / "usr/bin/promtool")
    assert servers.find("promtool") == cached
    on_path = _program(bare / "promtool")
    assert servers.find("promtool") == on_path


@pytest.mark.usefixtures("bare")
def test_without_apt_the_error_says_what_to_put_on_path() -> None:
    with pytest.raises(
        servers.UnavailableError, match="Put prometheus, promtool, alertmanager and amtool on PATH"
    ):
        servers.find("prometheus")


def test_a_failed_download_tries_fresh_lists_then_shows_apts_words_and_leaves_nothing(bare: Path) -> None:
    _program(bare / "dpkg")
    asked = bare / "asked"
    _program(
        bare / "apt-get",
        f'#!/bin/sh\necho "$@" >>{asked}\necho "E: Unable to locate package" >&2\nexit 100\n',
    )
    with pytest.raises(servers.UnavailableError, match="E: Unable to locate package"):
        servers.find("prometheus")
    first, second = asked.read_text().splitlines()
    assert first.endswith("download prometheus")
    assert f"Dir::State={servers.cache()}" in second
    assert second.endswith("update")
    assert not list(servers.cache().glob(".fetching-*"))
    assert not (servers.cache() / "prometheus").exists()


def test_a_second_process_waits_for_the_first_and_does_not_fetch_again(bare: Path, tmp_path: Path) -> None:
    # Neither apt-get nor dpkg may be needed: this pair only fails.
    _program(bare / "dpkg", "#!/bin/sh\nexit 1\n")
    _program(bare / "apt-get", "#!/bin/sh\nexit 1\n")
    servers.cache().mkdir(parents=True)
    with (servers.cache() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = subprocess.Popen(
            [sys.executable, SCRIPT, "promtool"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": str(bare), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        )
        assert second.stderr
        assert "waiting" in second.stderr.readline()
        brought = _program(servers.cache() / "prometheus" / "usr/bin/promtool")
    told, _ = second.communicate(timeout=30)
    assert second.returncode == 0
    assert str(brought) in told


def test_alertmanager_gets_its_own_folder_as_the_descriptor_written_into_the_program(tmp_path: Path) -> None:
    program = _program(
        tmp_path / "usr/bin/prometheus-alertmanager",
        '#!/bin/sh\necho "$1"; cat "/usr/share/prometheus/alertmanager/default.tmpl"\n',
    )
    size = program.stat().st_size
    share = tmp_path / "usr/share/prometheus/alertmanager"
    share.mkdir(parents=True)
    (share / "default.tmpl").write_text("the template")
    servers.relocate_alertmanager(tmp_path)
    # A Go program knows its strings by place and length.
    assert program.stat().st_size == size
    told = subprocess.run(
        [tmp_path / "run/alertmanager", "--flag"], capture_output=True, text=True, check=True
    )
    assert told.stdout == "--flag\nthe template"


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    done = subprocess.run([SCRIPT, "grafana"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "there is no grafana here: one of prometheus, promtool" in done.stderr
