from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dashboards import palette

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


def _build(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dashboards", *arguments],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of dashboards/ to spoil, and of the rules whose series they draw."""
    for folder in ("dashboards", "alerts"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def test_what_is_committed_is_what_the_python_says() -> None:
    done = _build(ROOT, "--check")
    assert (done.returncode, done.stderr) == (0, "")


def test_check_names_the_file_that_differs_and_leaves_it_alone(tree: Path) -> None:
    file = tree / "dashboards/json/floodmark-overview.json"
    file.write_text(file.read_text().replace("30s", "31s"))
    spoilt = file.read_text()
    done = _build(tree, "--check")
    assert done.returncode == 1
    assert str(file) in done.stderr
    assert file.read_text() == spoilt


def test_check_finds_a_dashboard_that_is_missing_and_one_whose_python_is_gone(tree: Path) -> None:
    folder = tree / "dashboards/json"
    (folder / "floodmark-overview.json").rename(folder / "floodmark-old.json")
    done = _build(tree, "--check")
    assert done.returncode == 1
    assert "floodmark-overview.json" in done.stderr
    assert "floodmark-old.json" in done.stderr


def test_building_mends_all_of_it_and_writes_the_same_bytes_each_time(tree: Path) -> None:
    folder = tree / "dashboards/json"
    (folder / "floodmark-overview.json").rename(folder / "floodmark-old.json")
    assert _build(tree).returncode == 0
    committed = {path.name: path.read_bytes() for path in (ROOT / "dashboards/json").iterdir()}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == committed


def test_every_step_of_colour_moves_with_the_alerts_thresholds(tree: Path) -> None:
    rules = tree / "alerts/thresholds.rules.yml"
    rules.write_text(re.sub(r"vector\((.*)\)", r"vector((\1) * 1.01)", rules.read_text()))
    assert _build(tree).returncode == 0
    for path in (ROOT / "dashboards/json").iterdir():
        committed, moved = (
            list(_scales(json.loads(file.read_text()))) for file in (path, tree / path.relative_to(ROOT))
        )
        for before, after in zip(committed, moved, strict=True):
            # An event is bad, and so is a number divided by its alert's threshold from 1 on.
            if before not in ([], [1], [palette.NEAR, 1]):
                assert all(was != is_ for was, is_ in zip(before, after, strict=True)), (path.name, before)


def _scales(node: object) -> Iterator[list[float]]:
    """Numbers of each scale of colours, those of single fields too; the base has none."""
    if isinstance(node, dict):
        if "steps" in node and node.get("mode") == "absolute":
            yield [step["value"] for step in node["steps"] if step["value"] is not None]
        for inner in node.values():
            yield from _scales(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _scales(inner)


def test_help_says_what_it_does() -> None:
    done = _build(ROOT, "--help")
    assert done.returncode == 0
    assert "dashboards/json" in done.stdout
