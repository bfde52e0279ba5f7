"""The exporter: watches this host and its gunicorns, and serves /metrics.

Nothing needs to be configured: every gunicorn master on the host is found by itself. Settings come from
--config (YAML), the environment (FLOODMARK_LISTEN and so on) and these flags; later ones win.
"""

from __future__ import annotations

import functools
import gc
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from floodmark import __version__, config, exposition
from floodmark import log as logs
from floodmark.collectors import COLLECTORS
from floodmark.facts import Facts
from floodmark.gunicorn.agents import Agents
from floodmark.gunicorn.proportional import ProportionalMemory
from floodmark.gunicorn.sockets import Sockets
from floodmark.gunicorn.watch import Watch
from floodmark.multiproc import Folder, Merging
from floodmark.requests import Requests
from floodmark.scrape import Scrape
from floodmark.server import Server
from floodmark.sources import kernel, statsd
from floodmark.sources.available import Available, Lack
from floodmark.state import State

if TYPE_CHECKING:
    import argparse
    import socket
    from collections.abc import Callable

    from floodmark.config import Config

log = logging.getLogger(__name__)

# Messages are other commands' work.
_FLAGS = tuple(name for name in config.SCALARS if name != "lang")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each setting that is no mapping."""
    parser.add_argument("--config", metavar="FILE", help="YAML file with these settings and apps")
    for name in _FLAGS:
        field = config.FIELDS[name]
        default = f" (default: {_shown(field.default)})"
        parser.add_argument(
            f"--{name.replace('_', '-')}", metavar="VALUE", help=field.metadata["doc"] + default
        )


def _shown(value: object) -> str:
    if isinstance(value, tuple) and not isinstance(value, config.Address):
        return ",".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    flags = {name: getattr(arguments, name) for name in _FLAGS if getattr(arguments, name) is not None}
    path = arguments.config or os.environ.get(config.ENV_PREFIX + "CONFIG")
    settings = config.load(Path(path) if path else None, os.environ, flags)
    logs.setup(form=settings.log_format, level=settings.log_level)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    proc = settings.root / "proc"
    available = Available()
    requests = Requests()
    try:
        heard = kernel.listen(settings.root, proc, available)
        watch = Watch(settings.root, proc, settings.apps, available, kernel=heard)
    except (OSError, ValueError) as error:
        raise config.no_host(settings.root, error) from error
    sockets = Sockets(proc, available, ask_kernel=kernel.is_own(proc))
    proportional = ProportionalMemory(proc, available)
    agents = Agents(settings.root, settings.agent_dirs, settings.apps, available)
    facts = Facts(settings.root, proc, watch, requests, sockets, proportional, agents)
    scrape = Scrape([each for each in COLLECTORS if each.name not in settings.disable], facts)
    folders = {
        name: Folder(app.prometheus_multiproc_dir)
        for name, app in settings.apps.items()
        if app.prometheus_multiproc_dir
    }
    merging = Merging(folders, available)
    pages = {name: functools.partial(_page, merging, name) for name in folders}
    try:
        server = Server(
            settings.listen, lambda accept: exposition.render(scrape(), accept), watch.deaths, pages
        )
    except OSError as error:
        raise config.ConfigError(
            f"can't listen on {settings.listen}: {error.strerror}."
            " Choose another address: --listen 127.0.0.1:9718"
        ) from error

    statsd_sockets = _statsd_sockets(settings, available)
    state = State(settings.state_dir, available)
    if kept := state.load():
        watch.restore(kept)
    watch.advance()  # the first scrape shall find the gunicorns
    proportional.read(watch.state())
    _start("watch", watch.run)
    _start("state", lambda: state.run(watch.kept))
    _start("proportional", lambda: proportional.run(watch.state))
    if folders:
        _start("multiproc", merging.run)
    if statsd_sockets:
        _start("statsd", lambda: statsd.receive(statsd_sockets, requests.take))
    # What is here now stays: spare the collector looking at it again and again.
    gc.freeze()
    host, port = server.server_address[:2]
    log.info("serving", extra={"version": __version__, "listen": f"{host!s}:{port}", "root": settings.root})
    try:
        server.serve_forever()
    finally:
        server.server_close()
        state.keep(watch.kept(), last=True)
        heard.close()
    return 0


def _page(merging: Merging, app: str, accept: str) -> exposition.Page:
    return exposition.page(merging.families(app), accept)


def _start(name: str, target: Callable[[], None]) -> None:
    threading.Thread(target=target, name=name, daemon=True).start()


def _statsd_sockets(settings: Config, available: Available) -> dict[socket.socket, str]:
    wanted = {name: app.statsd_socket for name, app in settings.apps.items() if app.statsd_socket}
    sockets: dict[socket.socket, str] = {}
    for name, where in {"": settings.statsd_listen, **wanted}.items():
        if where is None:
            continue
        try:
            listening = statsd.listen_unix(where) if isinstance(where, Path) else statsd.listen_udp(*where)
        except OSError as error:
            lack = Lack(
                f"can't listen for StatsD on {where}: {error.strerror}",
                "no request counts and durations from there; all else goes on",
                "choose another --statsd-listen or statsd_socket, or turn it off: --statsd-listen ''",
            )
            available.lacking(lack, "statsd", name)
        else:
            sockets[listening] = name
            available.good("statsd", name)
    return sockets
