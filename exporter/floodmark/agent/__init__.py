"""floodmark inside the app: requests, queue, heap, GC and how workers end, told from within.

Switched on by ``GUNICORN_CMD_ARGS="--logger-class=floodmark.agent.Logger"`` alone, beside any config file.
For a logger class of one's own there is the mixin::

    class Logger(floodmark.agent.Mixin, MyLogger): ...

It runs where the app runs: Python 3.8 or newer, gunicorn 20.1 or newer, the standard library and nothing
else of floodmark. Whatever goes wrong in here is said once in gunicorn's log, and the app runs on.

Environment of the app:
    FLOODMARK_AGENT_DIR: folder in which a folder of the app's user is made; /dev/shm where none is set.
    FLOODMARK_AGENT_PATHS: 0 keeps paths of requests in flight to itself. Query strings are never told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from floodmark.agent.logger import Logger, Mixin

__all__ = ["Logger", "Mixin"]


def __getattr__(name: str) -> object:
    """Import the logger, and with it gunicorn, only where it is asked for: floodmark itself has none."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from floodmark.agent import logger  # noqa: PLC0415 - see above

    return getattr(logger, name)
