"""The logger class by which gunicorn lets the agent in, and the hooks it gives to gunicorn's configuration.

A logger class goes together with a config file of the app's own, a hook in another config file doesn't. It is
set up with the first configuration, and in newer gunicorns with each one that a reload brings.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from gunicorn import glogging

from floodmark.agent import ledger
from floodmark.agent.arbiter import Attendant
from floodmark.agent.worker import Agent, current

if TYPE_CHECKING:
    from collections.abc import Callable


_said: set[str] = set()


class Mixin:
    """For a logger class of one's own: ``class Logger(floodmark.agent.Mixin, MyLogger): ...``."""

    def setup(self, cfg: Any) -> None:
        """Set up logging as always, and give the configuration the agent's hooks."""
        super().setup(cfg)  # type: ignore[misc] # of the class it is mixed into
        _install(cfg, self)


class Logger(Mixin, glogging.Logger):  # type: ignore[misc] # gunicorn has no types
    """Gunicorn's own logger with the agent: ``--logger-class=floodmark.agent.Logger``."""


def _install(cfg: Any, log: Any) -> None:
    """Put the agent's hooks around the app's own; nothing where they are already."""
    say = _sayer(log)
    if getattr(cfg.pre_fork, "floodmark", False):
        return
    _around(cfg, say, "pre_fork", before=lambda server, _: _attend(server, log))
    _around(cfg, say, "post_fork", before=lambda server, worker: _begin(server, worker, say))
    _around(cfg, say, "post_worker_init", after=lambda _: _tell(Agent.loaded))
    _around(cfg, say, "worker_exit", before=lambda *_: _tell(Agent.leave))
    _around(cfg, say, "worker_abort", before=lambda _: _tell(Agent.aborted))
    _around(
        cfg,
        say,
        "child_exit",
        before=lambda server, ended: server.floodmark and server.floodmark.reaped(ended),
    )
    _around(cfg, say, "on_exit", after=lambda server: server.floodmark and server.floodmark.leave())


def _around(
    cfg: Any,
    say: Callable[[str], None],
    name: str,
    before: Callable[..., object] | None = None,
    after: Callable[..., object] | None = None,
) -> None:
    own = getattr(cfg, name)

    def attempt(step: Callable[..., object] | None, arguments: tuple[object, ...]) -> None:
        try:
            if step is not None:
                step(*arguments)
        except Exception:
            say(name)

    def hook(*arguments: object) -> None:
        attempt(before, arguments)
        own(*arguments)
        attempt(after, arguments)

    hook.floodmark = True  # type: ignore[attr-defined] # what it is known by again
    # Not by cfg.set(), which counts the arguments that a hook names.
    cfg.settings[name].value = hook


def _attend(server: Any, log: Any) -> None:
    if hasattr(server, "floodmark"):
        return
    server.floodmark = None
    base = os.environ.get(ledger.VARIABLE) or ledger.USUAL
    try:
        folder = ledger.folder_of(base, server.cfg.proc_name)
    except OSError as error:
        log.warning(
            "floodmark's agent can't use %s (%s), the app goes on without it. Set FLOODMARK_AGENT_DIR to a"
            " folder that gunicorn's user may write to",
            error.filename or base,
            error.strerror,
        )
    else:
        server.floodmark = Attendant(server, folder, _sayer(log), lambda cfg: _install(cfg, log))


def _begin(server: Any, worker: Any, say: Callable[[str], None]) -> None:
    if server.floodmark:
        current[:] = [Agent(server.floodmark.folder, worker, say)]


def _tell(act: Callable[[Agent], None]) -> None:
    for agent in current:
        act(agent)


def _sayer(log: Any) -> Callable[[str], None]:
    def say(what: str) -> None:
        """Say in an ``except``, once in a process, what the agent can't do."""
        if what not in _said:
            _said.add(what)
            log.warning(
                "floodmark's agent failed (%s), the app goes on without that: %r", what, sys.exc_info()[1]
            )

    return say
