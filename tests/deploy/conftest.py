"""Docker Compose without Docker: enough of it to say what it makes of a compose file."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.compose import program

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def compose() -> Path:
    """Return the program docker-compose; a skip where it can't be had, which CI doesn't accept."""
    try:
        return program()
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
