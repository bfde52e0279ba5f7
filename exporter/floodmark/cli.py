"""The command line: ``floodmark COMMAND``. Exit 0 good, 1 found something wrong, 2 usage or configuration."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from typing import TYPE_CHECKING

from floodmark import __version__
from floodmark.commands import agent_path, check, dashboards, rules, serve, slack, why
from floodmark.config import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "serve": serve,
    "check": check,
    "why": why,
    "rules": rules,
    "dashboards": dashboards,
    "slack": slack,
    "agent-path": agent_path,
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="floodmark", description="Why Gunicorn workers die, and the flood before it drowns the server."
    )
    top.add_argument("--version", action="version", version=f"floodmark {__version__}")
    subparsers = top.add_subparsers(metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        sub = subparsers.add_parser(
            name,
            help=command.__doc__.splitlines()[0] if command.__doc__ else "",
            description=command.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    arguments = parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except ConfigError as error:
        print(f"floodmark: {error}", file=sys.stderr)  # noqa: T201 - said to the person who typed
        return 2
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        # What is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:  # the reader, like head, has seen enough
            return 0
        print(f"floodmark: writing the answer: {error.strerror}", file=sys.stderr)  # noqa: T201 - as above
        return 1
    except KeyboardInterrupt:
        return 130
    return status
