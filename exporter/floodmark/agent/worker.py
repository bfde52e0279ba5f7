"""The agent in a worker: its slab, its hooks, and the stacks of its threads at a SIGABRT."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import logging
import os
from typing import TYPE_CHECKING, Any

from floodmark.agent import heap, requests
from floodmark.agent.slab import Cell, Identity, Slab

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

current: list[Agent] = []  # that of this process, or none


class Agent:
    """A worker's agent.

    Args:
        folder: the app's.
        worker: gunicorn's.
        say: logs a line once.

    Raises:
        OSError: no slab can be made.
    """

    def __init__(self, folder: str, worker: Any, say: Callable[[str], None]) -> None:
        self.slab = Slab(folder, Identity.of(os.getpid()), Identity.of(os.getppid()))
        self._worker = worker
        settings = worker.cfg.settings
        self._hooks = requests.hooks(
            self.slab, _pre_request(worker), _own(settings["post_request"]), lambda: say("a request")
        )
        self._asgi = _is_asgi(worker)
        if not self._asgi:
            settings["pre_request"].value = self._hooks.pre_request
            settings["post_request"].value = self._hooks.post_request
        self._collected = heap.watch(self.slab)
        self._on_abort()
        if hasattr(worker, "get_thread_pool"):
            self._tell_queue()

    def access(self, resp: Any, req: Any, environ: Any, took: timedelta) -> None:
        """Take in what gunicorn writes to its access log."""
        if not self._asgi:
            self._hooks.access(resp, req, environ, took)

    def flag(self, cell: Cell) -> None:
        """Note that gunicorn's hook of that kind ran."""
        self.slab.cells[cell] = 1.0

    def loaded(self) -> None:
        """Note that the app is loaded; an ASGI app is counted by wrapping it."""
        self.flag(Cell.BOOTED)
        if self._asgi:
            name = "asgi" if hasattr(self._worker, "asgi") else "wsgi"  # uvicorn's worker has it there
            setattr(self._worker, name, self._hooks.asgi(getattr(self._worker, name)))

    def leave(self) -> None:
        """Note that the worker goes by itself, and whether because it has served enough."""
        self.flag(Cell.LEFT)
        if self._worker.nr >= getattr(self._worker, "max_requests", float("inf")):
            self.flag(Cell.RECYCLED)

    def _on_abort(self) -> None:
        """Have all threads' stacks written when gunicorn gives the worker up, or it crashes, also in C.

        To faulthandler SIGABRT is fatal: register() refuses it, enable() takes it with SIGSEGV and its kin.
        It writes once and goes on with the handler that was there before, gunicorn's own: hence after it.
        """
        if faulthandler.is_enabled():  # PYTHONFAULTHANDLER: the app wants crashes on its standard error
            return
        init_signals = self._worker.init_signals

        def then_enable() -> None:
            init_signals()
            faulthandler.enable(file=self.slab.descriptor, all_threads=True)

        self._worker.init_signals = then_enable

    def _tell_queue(self) -> None:
        """A gthread worker's main thread beats at each turn of its loop: that is when its queue changes."""
        worker, cells = self._worker, self.slab.cells
        notify = worker.notify

        def then_count() -> None:
            notify()
            with contextlib.suppress(AttributeError):  # another version's pool
                cells[Cell.QUEUED] = worker.tpool._work_queue.qsize()  # noqa: SLF001 - there is no other way to it

        worker.notify = then_count

    def detach(self) -> None:
        """Let go of the slab in a forked child: it is its parent's."""
        gc.callbacks.remove(self._collected)
        self.slab.detach()


def _forked() -> None:
    for agent in current:
        agent.detach()
    current.clear()


os.register_at_fork(after_in_child=_forked)


def _is_asgi(worker: Any) -> bool:
    modules = {kind.__module__ for kind in type(worker).__mro__}
    return any(name == "gunicorn.workers.gasgi" or name.startswith("uvicorn") for name in modules)


def _own(setting: Any) -> Any:
    """Return the hook that the app set, None for gunicorn's default, which does nothing."""
    return None if setting.get() is setting.default else setting.get()


def _pre_request(worker: Any) -> Any:
    # Gunicorn's default logs each request, at level debug.
    debug = worker.log.error_log.isEnabledFor(logging.DEBUG)
    return worker.cfg.pre_request if debug else _own(worker.cfg.settings["pre_request"])
