"""Docker Compose as a wheel, for tests that have no Docker, or an engine of their own."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REQUIREMENTS = Path(__file__).parents[1] / "deploy/requirements.txt"


def program() -> Path:
    """Install Compose once per machine, in a cache folder named after what is asked for; return the program.

    Raises:
        subprocess.CalledProcessError: pip couldn't get it, or got something else than the hashes say.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "floodmark"
    folder = cache / f"compose-{hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix="compose-", dir=cache))
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary=:all:"]
        try:
            subprocess.run(
                [*pip, "--target", scratch / "new", "-r", REQUIREMENTS],
                check=True,
                capture_output=True,
                text=True,
            )
            (scratch / "new").rename(folder)
        except OSError:
            if not folder.exists():  # otherwise another test run was faster
                raise
        finally:
            shutil.rmtree(scratch)
    return folder / "bin" / "docker-compose"
