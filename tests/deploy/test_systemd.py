"""Without Docker: the unit, the drop-in for an app, `make install` and `make uninstall`.

Into a folder; and the unit's command as its user with its rights. `make machine` does all on a real Debian.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

from deploy.demo import servers
from tests.support.live import ROOT, Floodmark, gunicorn, memory_limited, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.live

SYSTEMD = ROOT / "deploy/systemd"
UNIT = SYSTEMD / "floodmark.service"
_USER = 9717  # no such user here: it owns nothing, and is in no group

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may play another user in a namespace")
needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="wants systemd-analyze")


def make(target: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", target, *(f"{k}={v}" for k, v in variables.items())],
        cwd=ROOT,
        env={**os.environ, "DESTDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def tree(folder: Path) -> dict[str, bytes]:
    """Return each file with its content, and each link with where it leads; without what has times in it."""
    return {
        str(path.relative_to(folder)): os.fsencode(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        for path in folder.rglob("*")
        if (path.is_file() or path.is_symlink()) and path.suffix != ".pyc" and path.name != "RECORD"
    }


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    done = make("install", folder)
    assert done.returncode == 0, done.stderr
    return folder


def setting(name: str) -> str:
    """Return the value of a line of the unit that is there once."""
    (value,) = re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    return str(value)


def as_installed(folder: Path) -> tuple[str, ...]:
    """Return what runs a command in a mount namespace of its own, in which floodmark is in /opt."""
    return ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /opt && exec "$@"', str(folder / "opt"))


@needs_root
@needs_systemd
def test_systemd_understands_every_line_of_the_unit_and_the_drop_in(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "shop.service").write_text("[Service]\nExecStart=/bin/true\n")
    (tmp_path / "shop.service.d").mkdir()
    shutil.copy(SYSTEMD / "app.conf", tmp_path / "shop.service.d/floodmark.conf")
    shutil.copy(UNIT, tmp_path)
    verify = ("systemd-analyze", "verify", "--man=no", "--recursive-errors=no")
    done = subprocess.run(
        [*as_installed(installed), *verify, "floodmark.service", "shop.service"],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_its_exposure_is_no_more_than_the_documentation_says() -> None:
    (command,) = re.findall(
        r"^systemd-analyze security --offline.*$", (ROOT / "deploy/README.md").read_text(), re.MULTILINE
    )
    done = subprocess.run(command.split(), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


def test_installed_twice_it_is_the_same_and_settings_are_the_users(installed: Path) -> None:
    settings = installed / "etc/floodmark/floodmark.env"
    settings.write_text("FLOODMARK_LOG_FORMAT=json\n")
    before = tree(installed)
    assert make("install", installed).returncode == 0
    assert tree(installed) == before


def test_floodmark_and_what_it_needs_to_run_is_all_that_is_installed(installed: Path) -> None:
    files = tree(installed)
    packages = {name.split("/")[5] for name in files if "/site-packages/" in name}
    tools = ("pip", "setuptools", "hatchling", "pytest", "gunicorn", "grafanalib")
    assert [name for name in packages if name.startswith(tools)] == []
    assert {"floodmark", "prometheus_client", "yaml"} <= packages
    scripts = [name for name in files if name.startswith("opt/floodmark/bin/floodmark")]
    assert scripts == ["opt/floodmark/bin/floodmark"]
    assert files[scripts[0]].startswith(b"#!/opt/floodmark/bin/python\n")
    assert files["usr/local/bin/floodmark"] == b"/opt/floodmark/bin/floodmark"


def test_the_agent_is_where_the_drop_in_says(installed: Path) -> None:
    (path,) = re.findall(r'^Environment="PYTHONPATH=(.*)"$', (SYSTEMD / "app.conf").read_text(), re.MULTILINE)
    (logger,) = re.findall(r"--logger-class=(\S+)\"$", (SYSTEMD / "app.conf").read_text(), re.MULTILINE)
    module, _, name = logger.rpartition(".")
    folder = installed / path.removeprefix("/")
    assert f"class {name}(" in (folder / module.replace(".", "/") / "logger.py").read_text()
    assert not (folder / "floodmark/__init__.py").exists()  # the agent alone: nothing else reaches the app


def test_uninstall_keeps_settings_and_state_but_for_purge(installed: Path, tmp_path: Path) -> None:
    shutil.copytree(installed, tmp_path, symlinks=True, dirs_exist_ok=True)
    state = tmp_path / "var/lib/floodmark/state"
    state.parent.mkdir(parents=True)
    state.write_text("{}")
    for _ in range(2):
        assert make("uninstall", tmp_path).returncode == 0
        assert sorted(tree(tmp_path)) == ["etc/floodmark/floodmark.env", "var/lib/floodmark/state"]
    assert make("uninstall", tmp_path, PURGE="1").returncode == 0
    assert tree(tmp_path) == {}


def test_uninstall_leaves_all_in_place_while_an_app_loads_its_agent(installed: Path, tmp_path: Path) -> None:
    shutil.copytree(installed, tmp_path, symlinks=True, dirs_exist_ok=True)
    drop_in = tmp_path / "etc/systemd/system/shop.service.d/floodmark.conf"
    drop_in.parent.mkdir(parents=True)
    shutil.copy(SYSTEMD / "app.conf", drop_in)
    done = make("uninstall", tmp_path)
    assert done.returncode == 2
    assert str(drop_in) in done.stderr
    assert (tmp_path / "opt/floodmark/bin/floodmark").exists()
    drop_in.unlink()
    assert make("uninstall", tmp_path).returncode == 0


@pytest.mark.parametrize("target", ["install", "uninstall"])
def test_a_folder_that_isnt_floodmarks_is_left_alone(target: str, tmp_path: Path) -> None:
    other = tmp_path / "opt/floodmark/precious"
    other.parent.mkdir(parents=True)
    other.write_text("mine")
    done = make(target, tmp_path)
    assert tree(tmp_path) == {"opt/floodmark/precious": b"mine"}
    if target == "install":
        assert done.returncode != 0
        assert "move it away" in done.stderr


@needs_root
@pytest.mark.parametrize("target", ["install", "uninstall"])
def test_without_root_it_says_what_to_type(target: str) -> None:
    # One right, to read a clone in a closed folder; none of those it asks for.
    user = ("setpriv", f"--reuid={_USER}", "--clear-groups", "--inh-caps=-all,+dac_read_search")
    done = subprocess.run(
        [*user, "--ambient-caps=-all,+dac_read_search", "sh", SYSTEMD / "install.sh", target],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, f"floodmark: this wants root. Type: sudo make {target}\n")


def test_prometheus_configuration_without_docker_asks_for_loopback_alone(tmp_path: Path) -> None:
    made = subprocess.run(
        ["sed", "-f", SYSTEMD / "prometheus.sed", ROOT / "deploy/prometheus/prometheus.yml"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    config = yaml.safe_load(made)
    groups = config["scrape_configs"] + config["alerting"]["alertmanagers"]
    targets = [
        target for group in groups for static in group["static_configs"] for target in static["targets"]
    ]
    assert {target.partition(":")[0] for target in targets} == {"127.0.0.1", "localhost"}
    assert "dns_sd_configs" not in made
    (tmp_path / "prometheus.yml").write_text(made.replace("/etc/prometheus/floodmark", str(ROOT / "alerts")))
    done = subprocess.run(
        [servers.find("promtool"), "check", "config", tmp_path / "prometheus.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "rules found" in done.stdout


@contextlib.contextmanager
def the_service(installed: Path, folder: Path) -> Iterator[Floodmark]:
    """Run the unit's ExecStart as another user with the unit's capabilities, on free ports."""
    assert setting("AmbientCapabilities") == setting("CapabilityBoundingSet")
    rights = "-all" + "".join(
        f",+{c.removeprefix('CAP_').lower()}" for c in setting("AmbientCapabilities").split()
    )
    state = folder / "state"
    state.mkdir()
    os.chown(state, _USER, _USER)
    user = (
        *("setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups", "--no-new-privs"),
        *(f"--inh-caps={rights}", f"--ambient-caps={rights}", f"--bounding-set={rights}"),
    )
    environ = {
        "PATH": os.environ["PATH"],
        "STATE_DIRECTORY": str(state),
        "FLOODMARK_LISTEN": "127.0.0.1:0",
        "FLOODMARK_STATSD_LISTEN": "",
        "FLOODMARK_LOG_FORMAT": "json",
    }
    log = folder / "floodmark.log"
    command = [*as_installed(installed), *user, *setting("ExecStart").split()]
    with log.open("wb") as file, subprocess.Popen(command, stderr=file, env=environ) as process:
        running = Floodmark(process, log)
        try:
            until(lambda: process.poll() is not None or running.port, 20, "floodmark serves")
            assert process.poll() is None, log.read_text()
            yield running
        finally:
            process.terminate()
            process.wait(10)


@needs_root
def test_as_its_user_with_its_rights_it_confirms_how_another_users_workers_ended(
    installed: Path, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        cgroup = stack.enter_context(memory_limited("systemd", 128))
        app = stack.enter_context(gunicorn("unit", tmp_path, enter=cgroup.entering))
        service = stack.enter_context(the_service(installed, tmp_path))
        app.log.chmod(0o600)
        until(
            lambda: len(service.values("gunicorn_worker_info", app=app.name)) == 2, 10, "it sees both workers"
        )
        app.get("/stick-in-c?30")
        until(lambda: len(service.ends(app.name)) >= 1, 15, "the timeout is judged")
        app.get("/keep?200")
        until(lambda: len(service.ends(app.name)) >= 2, 15, "the OOM kill is judged")
        assert service.ends(app.name) == [("timeout", "confirmed"), ("oom_kill", "confirmed")]
        lacking = service.values("floodmark_source_available", app=app.name)
        assert {source for source, available in lacking.items() if not available} == set()
