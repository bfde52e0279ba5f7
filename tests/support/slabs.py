"""Slabs whose workers live, or died in the middle of something."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from floodmark.agent.slab import Identity, Slab

if TYPE_CHECKING:
    from pathlib import Path

_START = """
import os, signal, sys
from datetime import timedelta
from types import SimpleNamespace
from floodmark.agent import requests
from floodmark.agent.slab import Cell, Identity, Slab
slab = Slab(sys.argv[1], Identity.of(os.getpid()), Identity.of(os.getppid()))
hooks = requests.hooks(slab, lambda: None, threaded=True)
class Request:
    headers = ()
    def __init__(self, path, method):
        self.path, self.method = path, method
def request(path="/", method="GET"):
    return Request(path, method)
def response(status=200):
    return SimpleNamespace(status_code=status, headers_sent=True)
def serve(path="/", status=200, environ={}, method="GET"):
    served = request(path, method)
    hooks.pre_request(None, served)
    hooks.post_request(None, served, environ, response(status))
def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""


def mine(folder: Path) -> Slab:
    """Make a slab of this process, which lives."""
    return Slab(str(folder), Identity.of(os.getpid()), Identity.of(os.getppid()))


def dead(folder: Path, doing: str) -> Identity:
    """Run a worker that does something and is killed by SIGKILL then; return its identity.

    Args:
        folder: the app's.
        doing: Python; slab, hooks, request(), response(), serve() and die() are there.
    """
    program = f"{_START}\nprint(*Identity.of(os.getpid()), flush=True)\n{doing}\ndie()"
    command = [sys.executable, "-c", program, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid, ticks = done.stdout.split()
    return Identity(int(pid), int(ticks))
