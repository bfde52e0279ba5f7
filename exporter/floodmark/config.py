"""The configuration: one frozen Config out of a YAML file, the environment and flags.

Later wins: defaults, file, environment (FLOODMARK_ and the key in capitals), flags. A key that doesn't
exist is an error that names the nearest right one; so is a value that doesn't fit.
"""

from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from floodmark.collectors import COLLECTORS
from floodmark.log import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

ENV_PREFIX = "FLOODMARK_"
# Of messages; an alert's text in another than the first has its name as suffix (summary_ko).
LANGUAGES = ("en", "ko")
LOG_LEVELS = ("debug", "info", "warning", "error")
_MAX_PORT = 65535


class ConfigError(Exception):
    """What is wrong, where it stands, and what would be right; one line, for a person."""


def no_host(root: Path, error: OSError | ValueError) -> ConfigError:
    """Return the error of a root folder in which no host's /proc can be read."""
    reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else error
    return ConfigError(f"--root {root}: no /proc of a host in there: {reason}")


class Address(NamedTuple):
    """Where to listen: host (no brackets around IPv6) and port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def _address(value: object) -> Address:
    host, colon, port = str(value).rpartition(":")
    if not colon or not port.isdecimal() or int(port) > _MAX_PORT:
        raise ValueError("an address like 127.0.0.1:9717")
    return Address(host.removeprefix("[").removesuffix("]"), int(port))


def _address_or_none(value: object) -> Address | None:
    return None if value in ("", None, False) else _address(value)


def _one_of(names: Iterable[str]) -> Callable[[object], str]:
    allowed = tuple(names)

    def parse(value: object) -> str:
        if value not in allowed:
            raise ValueError(f"one of {', '.join(allowed)}")
        return str(value)

    return parse


def _language(value: object) -> str:
    return _one_of(LANGUAGES)(value or LANGUAGES[0])  # compose takes an empty variable for an unset one


def _path(value: object) -> Path:
    if not isinstance(value, (str, Path)) or not Path(value).is_absolute():
        raise ValueError("an absolute path")
    return Path(value)


def _path_or_none(value: object) -> Path | None:
    return None if value in ("", None, False) else _path(value)


def _paths(value: object) -> tuple[Path, ...]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        raise ValueError("a list of absolute paths")  # noqa: TRY004 - like all others here
    try:
        return tuple(_path(item.strip() if isinstance(item, str) else item) for item in items if item != "")
    except ValueError:
        raise ValueError("a list of absolute paths") from None


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a string")  # noqa: TRY004 - like all others here: it is the value that is wrong
    return value


def _collectors(value: object) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        raise ValueError("a list of collectors")  # noqa: TRY004 - as above
    names = [item.strip() if isinstance(item, str) else item for item in items if item != ""]
    known = [collector.name for collector in COLLECTORS]
    for name in names:
        if name not in known:
            raise ValueError(f"names of collectors ({', '.join(known)}; {name!r} is none)")
    return tuple(map(str, names))


# Immutable default and metadata in one call: what RUF009 fears can't happen with it.
# ruff: noqa: RUF009
def _setting(parse: Callable[[object], object], doc: str, **default: Any) -> Any:  # noqa: ANN401 - as dataclasses.field
    return dataclasses.field(metadata={"parse": parse, "doc": doc}, **default)


@dataclasses.dataclass(frozen=True, slots=True)
class App:
    """What the configuration says of one gunicorn app, by its label."""

    target: str = _setting(
        _string, "WSGI target (shop.wsgi:application) of the gunicorn that gets this label", default=""
    )
    log: Path | None = _setting(_path, "gunicorn's error log, where it isn't found by itself", default=None)
    statsd_socket: Path | None = _setting(
        _path,
        "unix datagram socket to receive this app's StatsD on (--statsd-host unix://PATH). Gunicorn looks for"
        " it only when it starts: start floodmark first, and gunicorn again after floodmark",
        default=None,
    )
    prometheus_multiproc_dir: Path | None = _setting(
        _path,
        "the app's PROMETHEUS_MULTIPROC_DIR, as floodmark sees it: its own prometheus_client metrics are"
        " served at `/apps/<label>/metrics`, and the files of its dead processes merged, if floodmark may"
        " write there",
        default=None,
    )


def _apps(value: object) -> Mapping[str, App]:
    if not isinstance(value, dict):
        raise ValueError("a mapping of app names to their settings")  # noqa: TRY004 - as above
    return {str(name): _app(str(name), settings or {}) for name, settings in value.items()}


def _app(name: str, settings: object) -> App:
    where = f"apps: {name}"
    if not isinstance(settings, dict):
        raise ConfigError(f"{where} must be a mapping of its settings, not {settings!r}")
    return App(**_checked(where, settings, _parsers(App)))


@dataclasses.dataclass(frozen=True, slots=True)
class Config:
    """All that can be set. Each field's ``doc`` is its help text and its line in the reference."""

    listen: Address = _setting(
        _address,
        "address of the exporter's HTTP server; port 0 takes a free one",
        default=Address("127.0.0.1", 9717),
    )
    root: Path = _setting(
        _path, "the host's root folder, where a container has it mounted", default=Path("/")
    )
    statsd_listen: Address | None = _setting(
        _address_or_none,
        "UDP address for gunicorn's --statsd-host; empty turns it off",
        default=Address("127.0.0.1", 8125),
    )
    state_dir: Path | None = _setting(
        _path_or_none,
        "folder for what a restart must not lose: counters, slots, death records, and how far the logs were"
        " read; where none is set, systemd's StateDirectory=; without that either, or with an empty one,"
        " nothing is kept: counters start from 0, and deaths while floodmark is down are never told",
        default=None,
    )
    disable: tuple[str, ...] = _setting(
        _collectors, "collectors to leave out, commas between them", default=()
    )
    agent_dirs: tuple[Path, ...] = _setting(
        _paths,
        "folders on the host where apps' agents write (their FLOODMARK_AGENT_DIR), commas between them;"
        " /dev/shm, and what the environment of a gunicorn names, are found without",
        default=(),
    )
    log_format: str = _setting(_one_of(FORMATS), "logfmt or json", default="logfmt")
    log_level: str = _setting(_one_of(LOG_LEVELS), "debug, info, warning or error", default="info")
    lang: str = _setting(
        _language,
        "en or ko: language of the Slack messages, for `slack test` and `rules export`; compose and the demo"
        " take it from the environment",
        default="en",
    )
    apps: Mapping[str, App] = _setting(
        _apps, "settings of single apps, by their label; in the file only", default_factory=dict
    )


FIELDS = {field.name: field for field in dataclasses.fields(Config)}
SCALARS = tuple(name for name in FIELDS if name != "apps")


def _parsers(settings: type[App | Config]) -> dict[str, Callable[[object], object]]:
    return {field.name: field.metadata["parse"] for field in dataclasses.fields(settings)}


def load(path: Path | None, environ: Mapping[str, str], flags: Mapping[str, str]) -> Config:
    """Read the configuration.

    Args:
        path: the YAML file, or None.
        environ: the environment; of it only FLOODMARK_* counts, and systemd's STATE_DIRECTORY.
        flags: values from the command line by key; only those that were given.

    Raises:
        ConfigError: something in it is wrong.
    """
    parsers = _parsers(Config)
    scalars = {name: parsers[name] for name in SCALARS}
    # Several of them stand there with colons between; systemd makes the first for us as any other.
    state = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    values = _checked("environment", {"state_dir": state}, scalars) if state else {}
    values |= _checked(str(path), _document(path), parsers) if path else {}
    own = {
        key.removeprefix(ENV_PREFIX).lower(): value
        for key, value in environ.items()
        if key.startswith(ENV_PREFIX) and key != f"{ENV_PREFIX}CONFIG"
    }
    values |= _checked("environment", own, scalars, lambda key: ENV_PREFIX + key.upper())
    values |= _checked("command line", flags, scalars, lambda key: "--" + key.replace("_", "-"))
    return Config(**values)


def language(flag: str | None, environ: Mapping[str, str]) -> str:
    """Return the language of messages: the flag, else the environment's, else the file's that it names.

    Raises:
        ConfigError: something in it is wrong.
    """
    path = environ.get(f"{ENV_PREFIX}CONFIG")
    return load(Path(path) if path else None, environ, {} if flag is None else {"lang": flag}).lang


def _document(path: Path) -> dict[str, object]:
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: 'key: value' lines expected, got a {type(document).__name__}")
    return {str(key): value for key, value in document.items()}


def _checked(
    where: str,
    values: Mapping[str, object],
    parsers: Mapping[str, Callable[[object], object]],
    spelling: Callable[[str], str] = str,
) -> dict[str, Any]:
    checked = {}
    for key, value in values.items():
        if key not in parsers:
            nearest = difflib.get_close_matches(key, parsers, 1, cutoff=0)[0]
            raise ConfigError(f"{where}: unknown key {spelling(key)!r}: did you mean {spelling(nearest)!r}?")
        try:
            checked[key] = parsers[key](value)
        except ConfigError as error:  # from further in
            raise ConfigError(f"{where}: {error}") from error
        except ValueError as error:
            raise ConfigError(f"{where}: {spelling(key)} must be {error}, not {value!r}") from error
    return checked
