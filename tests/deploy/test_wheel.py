"""What reaches site-packages: floodmark, its data, and nothing a user's own project might be called."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from floodmark import __version__

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.iterdir()
    return zipfile.Path(built)


def names(wheel: zipfile.Path) -> list[PurePosixPath]:
    return [PurePosixPath(name) for name in wheel.root.namelist()]


def shipped(wheel: zipfile.Path, folder: str, suffix: str) -> set[str]:
    """Paths below floodmark/data/``folder`` that end in ``suffix``."""
    data = PurePosixPath("floodmark/data", folder)
    return {
        str(n.relative_to(data)) for n in names(wheel) if n.is_relative_to(data) and n.name.endswith(suffix)
    }


def committed(folder: str, suffix: str) -> set[str]:
    found = {str(path.relative_to(ROOT / folder)) for path in (ROOT / folder).rglob(f"*{suffix}")}
    assert found, f"nothing like *{suffix} in {folder}: the test would prove nothing"
    return found


def test_nothing_but_floodmark_stands_at_the_top_level(wheel: zipfile.Path) -> None:
    assert {name.parts[0] for name in names(wheel)} == {"floodmark", f"floodmark-{__version__}.dist-info"}


def test_it_holds_every_module_and_says_that_it_is_typed(wheel: zipfile.Path) -> None:
    modules = {str(path.relative_to(ROOT / "exporter")) for path in (ROOT / "exporter").rglob("*.py")}
    assert modules | {"floodmark/py.typed"} <= {str(name) for name in names(wheel)}


def test_it_holds_the_dashboards_as_data(wheel: zipfile.Path) -> None:
    assert shipped(wheel, "dashboards", ".json") == committed("dashboards/json", ".json")


def test_it_holds_the_alert_rules_as_data(wheel: zipfile.Path) -> None:
    assert shipped(wheel, "alerts", ".rules.yml") == committed("alerts", ".rules.yml")


def test_it_holds_the_runbooks_as_data(wheel: zipfile.Path) -> None:
    assert shipped(wheel, "alerts/runbooks", ".md") == committed("alerts/runbooks", ".md")


def test_it_installs_the_command(wheel: zipfile.Path) -> None:
    entry_points = wheel / f"floodmark-{__version__}.dist-info" / "entry_points.txt"
    assert "floodmark = floodmark.cli:main" in entry_points.read_text()


def test_it_holds_the_agent_alone_for_an_apps_path(wheel: zipfile.Path) -> None:
    modules = {f"floodmark/agent/{name}" for name in committed("exporter/floodmark/agent", ".py")}
    assert shipped(wheel, "agent", ".py") == modules
    assert not shipped(wheel, "agent", ".pyc")


@pytest.mark.parametrize(
    ("command", "folder", "suffix"),
    [("rules", "alerts", ".rules.yml"), ("dashboards", "dashboards/json", ".json")],
)
def test_installed_it_exports_its_data(
    command: str, folder: str, suffix: str, wheel: zipfile.Path, tmp_path: Path
) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", tmp_path / "site", str(wheel.root.filename)], check=True)
    done = subprocess.run(
        [tmp_path / "site/bin/floodmark", command, "export", tmp_path / "written"],
        env={"PYTHONPATH": str(tmp_path / "site")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "written").iterdir()} == committed(folder, suffix)
