"""A gunicorn's settings as they can be known from outside, without asking it and without running its code.

Gunicorn takes them, later ones winning, from: defaults, its config file, GUNICORN_CMD_ARGS, the command line.
A config file is Python: of it only plain literals are believed, everything else in it is unknown.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import shlex
from collections import Counter
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

# What floodmark uses of gunicorn's settings: option strings, default.
_USED: dict[str, tuple[tuple[str, ...], object]] = {
    "backlog": (("--backlog",), 2048),
    "bind": (("-b", "--bind"), "127.0.0.1:8000"),
    "chdir": (("--chdir",), ""),
    "control_socket": (("--control-socket",), ""),
    "control_socket_disable": (("--no-control-socket",), False),
    "errorlog": (("--error-logfile", "--log-file"), "-"),
    "graceful_timeout": (("--graceful-timeout",), 30),
    "logger_class": (("--logger-class",), ""),
    "loglevel": (("--log-level",), "info"),
    "max_requests": (("--max-requests",), 0),
    "max_requests_jitter": (("--max-requests-jitter",), 0),
    "preload_app": (("--preload",), False),
    "proc_name": (("-n", "--name"), ""),
    "statsd_host": (("--statsd-host",), ""),
    "statsd_prefix": (("--statsd-prefix",), ""),
    "threads": (("--threads",), 1),
    "timeout": (("-t", "--timeout"), 30),
    "worker_class": (("-k", "--worker-class"), "sync"),
    "worker_connections": (("--worker-connections",), 1000),
    "workers": (("-w", "--workers"), 1),
}
# The rest of its options, so that their values aren't taken for the WSGI target.
_OTHER = """--keep-alive --limit-request-line --limit-request-fields --limit-request-field_size
    --reload-engine --reload-extra-file -e --env -p --pid --worker-tmp-dir -u --user -g --group -m --umask
    --forwarded-allow-ips --access-logfile --access-logformat --log-config --log-config-json
    --log-syslog-to --log-syslog-prefix --log-syslog-facility --dogstatsd-tags --pythonpath
    --paste --paster --proxy-allow-from --protocol --uwsgi-allow-from --keyfile --certfile --ssl-version
    --cert-reqs --ca-certs --ciphers --http-protocols --http2-cleartext --http2-max-concurrent-streams
    --http2-initial-window-size --http2-max-frame-size --http2-max-header-list-size --paste-global
    --forwarder-headers --header-map --asgi-loop --asgi-lifespan --asgi-disconnect-grace-period
    --websocket-max-message-size --http-parser --root-path --dirty-app --dirty-workers --dirty-timeout
    --dirty-threads --dirty-graceful-timeout --control-socket-mode""".split()  # noqa: SIM905 - a page of quotes says less
_FLAGS = """--reload --spew --check-config --print-config --no-sendfile --reuse-port -D --daemon --initgroups
    --disable-redirect-access-to-syslog --capture-output --log-syslog -R --enable-stdio-inheritance
    --enable-backlog-metric --suppress-ragged-eofs --do-handshake-on-connect --permit-obsolete-folding
    --strip-header-spaces --permit-unconventional-http-method --permit-unconventional-http-version
    --casefold-http-method""".split()  # noqa: SIM905 - as above

# Numbers that gunicorn_config publishes.
PUBLISHED = (
    "workers",
    "threads",
    "timeout",
    "graceful_timeout",
    "max_requests",
    "max_requests_jitter",
    "worker_connections",
    "backlog",
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("target", nargs="*")
    parser.add_argument("-c", "--config")
    parser.add_argument("--proxy-protocol", nargs="?", dest="other")
    for name, (options, default) in _USED.items():
        action = "append" if name == "bind" else "store_true" if default is False else "store"
        parser.add_argument(*options, dest=name, action=action)
    for option in _OTHER:
        parser.add_argument(option, dest="other")
    for flag in _FLAGS:
        parser.add_argument(flag, dest="other", action="store_true")
    return parser


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """Settings by gunicorn's own names; a name without a value is unknown, not default.

    Attributes:
        target: the WSGI target (``shop.wsgi:application``), empty where the command line has none.
    """

    target: str
    values: Mapping[str, object]

    def text(self, name: str) -> str | None:
        """Return a setting as text, None where unknown."""
        value = self.values.get(name)
        return None if value is None else str(value)

    def number(self, name: str) -> float | None:
        """Return a number in gunicorn's own unit (seconds, pieces), None where unknown or no number."""
        try:
            return float(str(self.values[name]))
        except (KeyError, ValueError):
            return None

    def unknown(self, names: Collection[str]) -> list[str]:
        """Return those of these settings that are unknown."""
        return [name for name in names if self.values.get(name) is None]

    def told(self, values: Mapping[str, object]) -> Settings:
        """Return them with these values, which gunicorn itself told."""
        return dataclasses.replace(self, values={**self.values, **values})

    @property
    def binds(self) -> frozenset[str]:
        """The addresses it was told to listen on; empty where unknown."""
        value = self.values.get("bind", ())
        return frozenset([value] if isinstance(value, str) else value if isinstance(value, list) else ())

    @property
    def worker_class(self) -> str | None:
        """The worker class by its short name; a sync worker with threads is a gthread one."""
        name = self.text("worker_class")
        if name is None:
            return None
        threads = self.number("threads")
        if name != "sync" or threads == 1:
            return name.rpartition(".")[2]
        return None if threads is None else "gthread"


UNKNOWN = Settings("", {})


def read(
    arguments: Sequence[str],
    environ: Mapping[str, str] | None,
    config_file: Callable[[str], str | None],
) -> Settings:
    """Work out a gunicorn's settings.

    Args:
        arguments: its command line after the program.
        environ: its environment, None where it can't be read: then only the command line is known.
        config_file: returns a config file's text for the path gunicorn was given, None where there is no
            such file; raises OSError where it can't be read, ValueError where it's no file (``python:``).
    """
    line = _parse(arguments)
    if environ is None:
        return _settings(line)
    try:
        by_environ = _parse(shlex.split(environ.get("GUNICORN_CMD_ARGS", "")))
        path = str(line.get("config") or by_environ.get("config") or "./gunicorn.conf.py")
        by_file = _literals(config_file(path.removeprefix("file:")) or "")
    except (OSError, SyntaxError, ValueError):
        return _settings(line)
    defaults = {name: default for name, (_, default) in _USED.items()}
    if environ.get("WEB_CONCURRENCY", "").isdecimal():
        defaults["workers"] = environ["WEB_CONCURRENCY"]
    if "PORT" in environ:
        defaults["bind"] = f"0.0.0.0:{environ['PORT']}"
    return _settings(defaults | by_file | by_environ | line)


def _settings(values: Mapping[str, object]) -> Settings:
    target = values.get("target")
    return Settings(
        str(target[0]) if isinstance(target, list) and target else "",
        {name: values[name] for name in _USED if values.get(name) is not None},
    )


def _parse(arguments: Sequence[str]) -> dict[str, object]:
    try:
        namespace, _ = _parser().parse_known_args(list(arguments))
    except ValueError:
        return {}
    return vars(namespace)


def _literals(source: str) -> dict[str, object]:
    """Return what a config file sets once, to a literal; None for what it sets in any other way."""
    tree = ast.parse(source)
    stores = Counter(
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    )
    found: dict[str, object] = dict.fromkeys(stores)
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=value)) if (
                stores[name] == 1
            ):
                found[name] = value
    return found
