"""The whole page of the real binary for a recorded host, compared with what it should be."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
from pathlib import Path

import pytest

from deploy.demo import servers
from tests.fixtures.hosts import NAMES, lay_out
from tests.fixtures.serving import fetched, serving

GOLDEN = Path(__file__).parent / "golden"
WRITE = "FLOODMARK_WRITE_GOLDEN"

# What can't be the same twice, by what stands in its place. All else on the page is compared.
UNSTABLE = (
    (re.compile(r'^(floodmark_build_info\{version=")[^"]+', re.MULTILINE), r"\1<version>"),
    (
        re.compile(r"^(floodmark_scrape_collector_duration_seconds\{.*\}) .*$", re.MULTILINE),
        r"\1 <seconds>",
    ),
    # statvfs can't be recorded: these are of the machine that runs the test. That they are there for this
    # mount, and whether it failed, is compared.
    (re.compile(r"^(node_filesystem_(?:size|free|avail)_bytes\{.*\}) .*$", re.MULTILINE), r"\1 <statvfs>"),
    (
        re.compile(r"^(gunicorn_memory_proportional_age_seconds\{.*\}) .*$", re.MULTILINE),
        r"\1 <seconds>",
    ),
    (re.compile(r"^(process_\w+) .*$", re.MULTILINE), r"\1 <of floodmark itself>"),
)


def stable(page: str) -> str:
    for pattern, replacement in UNSTABLE:
        page = pattern.sub(replacement, page)
    return page


@pytest.mark.live
@pytest.mark.parametrize("name", NAMES)
def test_the_page_of_a_recorded_host_is_the_golden_one(name: str, tmp_path: Path) -> None:
    root = lay_out(name, tmp_path / "host")
    with serving("--root", str(root)) as url:
        page = stable(fetched(url))
    golden = GOLDEN / f"{name}.metrics"
    if os.environ.get(WRITE):
        golden.write_text(page)
    difference = "\n".join(
        difflib.unified_diff(
            golden.read_text().splitlines(), page.splitlines(), str(golden), "the page", lineterm="", n=1
        )
    )
    assert not difference, (
        f"{difference}\n\nIf that is what you meant: {WRITE}=1 .venv/bin/pytest tests/test_golden.py,"
        " then read the difference once more in git diff."
    )


@pytest.mark.live
def test_promtool_finds_fault_with_nothing_but_names_that_node_exporter_chose(tmp_path: Path) -> None:
    try:
        promtool = servers.find("promtool")
    except servers.UnavailableError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    with serving("--root", str(lay_out("vm-cgroup1", tmp_path / "host"))) as url:
        page = fetched(url)
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=page, capture_output=True, text=True, check=False
    )
    assert checked.returncode in {0, 3}, f"not understood: {checked.stderr}"
    faults = [line for line in checked.stderr.splitlines() if not re.match(r"node_\w+ .*snake_case", line)]
    assert not faults
