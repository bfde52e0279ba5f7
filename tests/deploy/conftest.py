"""Docker Compose without Docker: enough of it to say what it makes of a compose file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def _install() -> Path:
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


@pytest.fixture(scope="session")
def compose() -> Path:
    """Return the program docker-compose; a skip where it can't be had, which CI doesn't accept."""
    try:
        return _install()
    except subprocess.CalledProcessError as error:
        reason = f"no Docker Compose: {error.stderr.strip().splitlines()[-1]}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def config(compose: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs ``docker compose config`` on files of the repository with this environment.

    Arguments are paths of files that go on top of the first, docker-compose.yml if not said, and the services
    whose profiles are wanted, all of them if not said.
    """

    def run(
        *overrides: str, file: str = "docker-compose.yml", services: tuple[str, ...] = (), **environment: str
    ) -> subprocess.CompletedProcess[str]:
        files = [part for name in (file, *overrides) for part in ("-f", ROOT / name)]
        profile = [] if services else ["--profile", "*"]
        return subprocess.run(
            # /dev/null for .env: a developer's own must not decide what the tests see.
            [compose, "--env-file", os.devnull, *files, *profile, "config", "--format", "json", *services],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def resolved(config: Callable[..., subprocess.CompletedProcess[str]]) -> Any:  # noqa: ANN401 - parsed JSON
    """Return the compose file as Compose understands it, with the one variable set that has no default."""
    done = config(GRAFANA_ADMIN_PASSWORD="chosen")  # noqa: S106 - a made-up one
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
