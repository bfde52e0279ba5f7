"""A secret in a file: read whole or not at all, and shown in no error."""

from __future__ import annotations

import sys
from pathlib import Path

from floodmark.config import ConfigError

_MOST_BYTES = 10_000  # no secret is longer


def read(path: str, name: str, like: str) -> str:
    """Return what a file holds.

    Args:
        path: the file's, - for standard input.
        name: the flag or variable that named it.
        like: what it must hold, as people write it without the secret.

    Raises:
        ConfigError: it can't be read, or is no text.
    """
    try:
        if path == "-":
            return sys.stdin.buffer.read(_MOST_BYTES).decode()
        with Path(path).open("rb") as file:
            return file.read(_MOST_BYTES).decode()
    except OSError as error:
        raise ConfigError(f"{name} {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigError(f"{name} {path}: not a text: it must hold {like} alone") from None
