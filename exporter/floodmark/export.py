"""Files of floodmark's own for another server: all are written or none, and no other file is touched."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import floodmark
from floodmark.config import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PACKAGE = Path(floodmark.__file__).parent


class Ours(NamedTuple):
    """What a file of ours is known by, whichever version wrote it.

    Attributes:
        pattern: of its name.
        sign: says of a file's path whether its content is ours; may raise OSError.
        tells: the same for people: "its first line tells".
    """

    pattern: str
    sign: Callable[[Path], bool]
    tells: str

    def holds(self, path: Path) -> bool:
        """Whether a file is ours; what can't be read we haven't written."""
        try:
            return path.is_file() and self.sign(path)
        except OSError:
            return False


def parser(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], description: str
) -> argparse.ArgumentParser:
    """Return the parser of an action "export", which takes the folder DIR."""
    writing = actions.add_parser(
        "export",
        help="write them into a folder",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    writing.add_argument("folder", metavar="DIR", help="where they go")
    return writing


def shipped(name: str, clone: str = "") -> Path:
    """Return where the data of a name is: in an installed floodmark its own, in a clone the folder there."""
    data = _PACKAGE / "data" / name
    return data if data.is_dir() else _PACKAGE.parents[1] / (clone or name)


def target(text: str, command: str) -> Path:
    """Return the folder that a user named.

    Raises:
        ConfigError: it is none, or something else is there.
    """
    if not text:  # an unset variable: as a path it would be the present folder
        raise ConfigError(f"{command}: DIR is empty: nothing is written")
    if Path(text).exists() and not Path(text).is_dir():
        raise ConfigError(f"{text} is no folder: nothing is written")
    return Path(text)


def write(target: Path, files: Mapping[str, str], ours: Ours) -> list[str]:
    """Write all files or none, and remove those that are ours and gone; return these.

    Raises:
        ConfigError: it can't be done, or would overwrite what isn't ours.
    """
    # With no name that fits before they are whole: a server's pattern may match what starts with a dot.
    waiting = {name: target / f".{name}.{os.getpid()}.new" for name in files}
    try:
        _make(target)
        present = sorted(path for path in target.glob(ours.pattern) if path.name in files or ours.holds(path))
        for path in present:
            if not ours.holds(path):
                raise ConfigError(
                    f"{path} is not floodmark's, {ours.tells}: nothing is written. Choose another"
                    " DIR, or move it away"
                )
        for name, path in waiting.items():
            path.write_text(files[name], "utf-8")
            path.chmod(
                0o644
            )  # no secret, and the server is another user, who would find none and say nothing
        for name, path in waiting.items():
            path.replace(target / name)
        removed = [path for path in present if path.name not in files]
        for path in removed:
            path.unlink()
    except OSError as error:
        for path in waiting.values():
            with contextlib.suppress(OSError):
                path.unlink()
        raise ConfigError(f"{error.filename or target}: {error.strerror}: nothing is written") from error
    return [path.name for path in removed]


def _make(folder: Path) -> None:
    """Make a folder, and those above it, that the server's user may look into whatever the umask."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir()
        folder.chmod(0o755)
