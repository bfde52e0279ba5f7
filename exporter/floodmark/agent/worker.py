"""The agent in a worker: its slab, its hooks, and the stacks of its threads at a SIGABRT."""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import sys
from _thread import get_ident
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from floodmark.agent import asgi, heap, requests, slab
from floodmark.agent.rows import SUM
from floodmark.agent.slab import Cell, Identity, Slab

if TYPE_CHECKING:
    from collections.abc import Callable

# Modules of worker classes that serve all requests on the main thread.
_ON_MAIN_THREAD = {
    "gunicorn.workers.sync",
    "gunicorn.workers.base_async",
    "gunicorn.workers.gasgi",
    "uvicorn.workers",
    "uvicorn_worker._workers",
}

current: list[Agent] = []  # that of this process, or none


class _Unparsed:
    """The answer to what was no request."""

    def __init__(self, status: int) -> None:
        self.status = str(status)


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
        self._own_post = worker.cfg.settings["post_request"].value
        self._unlogged: set[int] = set()  # threads that write an error page which wasn't logged
        self._asgi = _is_asgi(worker)
        alone = _classes(worker) & _ON_MAIN_THREAD
        self._hooks = requests.hooks(self.slab, lambda: say("a request"), threaded=not alone)
        if not self._asgi:
            self._hook_requests()
        self._collected = heap.watch(self.slab)
        self._on_abort()
        if hasattr(worker, "get_thread_pool"):
            self._tell_queue()

    def _hook_requests(self) -> None:
        """Have requests counted by gunicorn's hooks, and what comes to its access log alone."""
        settings, log = self._worker.cfg.settings, self._worker.log
        _chain(
            settings["pre_request"],
            self._hooks.pre_request,
            own_first=True,
            keep=log.loglevel <= logging.DEBUG,
        )
        _chain(settings["post_request"], self._hooks.post_request, own_first=False)
        if getattr(self._worker, "wsgi_handler", None):  # gevent's own server, which calls no hooks
            self._count_pages()
        self._count_errors()

    def _count_errors(self) -> None:
        """Count error pages: gunicorn gives its access log those of requests that it could parse alone."""
        handle_error = self._worker.handle_error
        util: Any = sys.modules["gunicorn.util"]

        def then_count(*arguments: Any) -> None:
            self._count_pages()
            self._unlogged.add(get_ident())
            try:
                handle_error(*arguments)
            finally:
                self._unlogged.discard(get_ident())

        def write_error(client: Any, status: int, *text: str) -> None:
            if get_ident() in self._unlogged:
                self._hooks.access(_Unparsed(status), None, {"REQUEST_METHOD": "other"}, timedelta())
            write(client, status, *text)

        write, util.write_error = util.write_error, write_error
        self._worker.handle_error = then_count

    def _count_pages(self) -> None:
        """Take in what goes to the access log from now on: a worker without an error need not pay for it."""
        log = self._worker.log
        if "access" in vars(log):
            return
        write = log.access

        def access(resp: Any, req: Any, environ: Any, took: timedelta) -> None:
            self._unlogged.discard(get_ident())
            self._hooks.access(resp, req, environ, took)
            write(resp, req, environ, took)

        log.access = access

    def flag(self, cell: Cell) -> None:
        """Note that gunicorn's hook of that kind ran."""
        self.slab.cells[cell] = 1.0

    def aborted(self) -> None:
        """Leave in flight what is cut off as gunicorn gives the worker up."""
        # Gunicorn ends the request by SystemExit, and calls its hook as if it had been answered.
        self._worker.cfg.settings["post_request"].value = self._own_post

    def loaded(self) -> None:
        """Note that the app is loaded; an ASGI app is counted by wrapping it."""
        self.flag(Cell.BOOTED)
        if self._asgi:
            name = "asgi" if hasattr(self._worker, "asgi") else "wsgi"  # uvicorn's worker has it there
            setattr(self._worker, name, asgi.counted(getattr(self._worker, name), self._hooks))

    def leave(self) -> None:
        """Note that the worker goes by itself, and whether because it has served enough."""
        self.flag(Cell.LEFT)
        limit = getattr(self._worker, "max_requests", float("inf"))
        if self._worker.nr >= limit or (self._asgi and self._served() >= limit):
            self.flag(Cell.RECYCLED)

    def _served(self) -> float:
        """Return how many requests it has answered, which uvicorn's worker doesn't tell gunicorn."""
        rows = slab.read(self.slab.path).rows()
        return sum(sum(values[:SUM]) for name, values in rows.items() if name.startswith("request "))

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
        worker, cells, cell = self._worker, self.slab.cells, int(Cell.QUEUED)
        # What gunicorn's own does, without the call of it: this runs twice for each request.
        plain = type(worker).notify.__module__ == "gunicorn.workers.base"
        notify = worker.tmp.notify if plain else worker.notify
        size: Callable[[], int] | None = None

        def then_count() -> None:
            nonlocal size
            notify()
            try:
                if size is None:  # the pool is made after the fork
                    size = worker.tpool._work_queue.qsize  # noqa: SLF001 - there is no other way to it
                cells[cell] = size()
            except AttributeError:  # not made yet, or another version's
                pass

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


def _classes(worker: Any) -> set[str]:
    return {kind.__module__ for kind in type(worker).__mro__}


def _is_asgi(worker: Any) -> bool:
    modules = _classes(worker)
    return "gunicorn.workers.gasgi" in modules or any(name.startswith("uvicorn") for name in modules)


def _chain(setting: Any, ours: Callable[..., None], *, own_first: bool, keep: bool = False) -> None:
    """Set a hook of ours beside the app's own; gunicorn's default ones do nothing but log, at level debug."""
    own = setting.get()
    if own is setting.default and not keep:
        setting.value = ours
        return
    first, second = (own, ours) if own_first else (ours, own)

    def both(*arguments: Any) -> None:
        first(*arguments)
        second(*arguments)

    setting.value = both
