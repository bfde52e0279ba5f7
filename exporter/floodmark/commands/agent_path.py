"""Print the folder that brings the agent to an app by PYTHONPATH, with nothing installed in the app.

    PYTHONPATH=$(floodmark agent-path) gunicorn --logger-class=floodmark.agent.Logger ...

The agent needs the standard library alone, Python 3.8 or newer. Of an installed floodmark only the agent is
in there; in a clone it is the folder of all the source. For an app in a container, mount the folder
(read-only will do) and set PYTHONPATH to where it is mounted. The app's user must be able to read it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import floodmark

if TYPE_CHECKING:
    import argparse

_PACKAGE = Path(floodmark.__file__).parent


def add_arguments(_: argparse.ArgumentParser) -> None:
    """It takes none."""


def folder() -> Path:
    """Return the folder. A wheel brings a copy, as its own is site-packages, with all that is in there."""
    copy = _PACKAGE / "data/agent"
    return copy if copy.is_dir() else _PACKAGE.parent


def run(_: argparse.Namespace) -> int:
    """Print it."""
    sys.stdout.write(f"{folder()}\n")
    return 0
