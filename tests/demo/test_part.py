from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from deploy.demo.part import Part, stop

if TYPE_CHECKING:
    from pathlib import Path

# Ignores TERM, and so does its child: only KILL ends them.
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
if child:
    print(child, flush=True)
time.sleep(600)
"""


def _wait_for_words(part: Part) -> str:
    while not (words := part.last_words()):
        assert part.died() is None
    return words


@pytest.mark.live
def test_what_ignores_term_is_killed_with_its_children(tmp_path: Path) -> None:
    part = Part("stubborn", [sys.executable, "-c", STUBBORN], tmp_path / "log")
    part.start()
    child = psutil.Process(int(_wait_for_words(part)))
    stop([part], seconds=0.5)
    assert part.died() == -9
    gone, _ = psutil.wait_procs([child], timeout=10)
    assert gone or child.status() == psutil.STATUS_ZOMBIE  # a machine without an init that reaps


@pytest.mark.live
def test_a_part_gets_a_clean_environment_with_temporary_files_beside_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PYTHONPATH", "GUNICORN_CMD_ARGS", "http_proxy", "HTTPS_PROXY", "SLACK_WEBHOOK_URL"):
        monkeypatch.setenv(name, "dirty")
    part = Part("env", [sys.executable, "-c", "import os; print(dict(os.environ))"], tmp_path / "log")
    part.start()
    assert part.process
    part.process.wait(timeout=30)
    words = part.last_words()
    assert "dirty" not in words
    assert f"'TMPDIR': '{tmp_path}'" in words
