"""The dashboards, for a Grafana that you have already.

  floodmark dashboards push --grafana https://grafana.example.org --token-file token

puts all eight into a folder, through Grafana's HTTP API. Do it again after each update of floodmark.

  floodmark dashboards export DIR

writes them as files, for Grafana's file provisioning or its import page.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from floodmark import config, export, secretfile
from floodmark.grafana import FailedError, Grafana, Json
from floodmark.refusal import ACCOUNT, PROVISIONED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_EXPORT = """\
Write every dashboard as JSON into DIR, for Grafana's file provisioning or its import page.

All files are written or none. A file of floodmark's that this version has no more is removed, and named; one
that isn't floodmark's (its uid and its tag tell) is never touched.

Example:
  floodmark dashboards export /etc/grafana/floodmark
"""
_PUSH = """\
Put every dashboard into a folder of a Grafana (10 to 13), through its HTTP API.

What is there is compared first: an equal dashboard isn't pushed again, a changed one is overwritten (its
history in Grafana keeps the old one), and no dashboard but floodmark's is touched.

The token is a service account's with the role Editor (Administration, Users and access, Service accounts). It
is taken from the first of these that is set:

  --token-file FILE     a file that holds it; - is standard input
  GRAFANA_TOKEN_FILE    the same
  GRAFANA_TOKEN         the token itself

It is a secret, and is never shown. Proxies are the environment's (https_proxy, no_proxy); a CA of your own is
named by REQUESTS_CA_BUNDLE. Exit status 0: all eight are there; 1: Grafana refused, or can't be reached; 2:
wrong usage, or no token.

Examples:
  floodmark dashboards push --grafana https://grafana.example.org --token-file token --dry-run
  floodmark dashboards push --grafana https://example.org/grafana --folder Web --datasource Prometheus
"""
_NEEDED = (
    "thresholds, and much else that they draw, are recorded by floodmark's rules: give Prometheus those too,"
    " floodmark rules export"
)
_FOLDER = "floodmark"  # the default title of ours in Grafana, and its uid
_TAG = "floodmark"
_VARIABLE = "datasource"
_LIKE = "glsa_..."
# Grafana counts both, and raises a refresh that is faster than its administrator allows.
_GRAFANAS_OWN = {"id", "version", "refresh"}


class Step(NamedTuple):
    """What becomes of one dashboard.

    Attributes:
        dashboard: as it shall be.
        verdict: a key of _DONE.
        folder: uid of the folder it belongs into; None for ours, where that has to be made.
        note: what else to know of it.
    """

    dashboard: Json
    verdict: str
    folder: str | None
    note: str = ""

    @property
    def uid(self) -> str:
        """Which one it is."""
        return str(self.dashboard["uid"])


# Of each verdict, how it is told before and after.
_TO_DO = {"create": "to create", "change": "to change", "move": "to move", "equal": "equal"}
_DONE = {"create": "created", "change": "changed", "move": "moved", "equal": "equal"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the two things to do, and their flags."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    writing = export.parser(actions, _EXPORT)
    writing.set_defaults(act=_export)

    pushing = actions.add_parser(
        "push",
        help="put them into a running Grafana",
        description=_PUSH,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    pushing.add_argument("--grafana", metavar="URL", help="its address, as you see it (default: GRAFANA_URL)")
    pushing.add_argument(
        "--token-file", metavar="FILE", help="file that holds the token, - for standard input"
    )
    pushing.add_argument(
        "--folder",
        metavar="TITLE",
        help=f"the folder for all of them, made if need be (default: where each is, else {_FOLDER})",
    )
    pushing.add_argument(
        "--datasource",
        metavar="NAME",
        help="name or uid of the Prometheus they open on (default: as it is there, else Grafana's choice)",
    )
    pushing.add_argument("--dry-run", action="store_true", help="write nothing, say what would be done")
    pushing.add_argument(
        "--timeout",
        type=float,
        default=10.0,
        metavar="S",
        help="seconds to wait for each answer (default: 10)",
    )
    pushing.set_defaults(act=_push)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for."""
    status: int = arguments.act(arguments)
    return status


def shipped() -> dict[str, str]:
    """Return the dashboards' files by name."""
    folder = export.shipped("dashboards", clone="dashboards/json")
    return {path.name: path.read_text("utf-8") for path in sorted(folder.glob("*.json"))}


# --- Files


def _export(arguments: argparse.Namespace) -> int:
    target = export.target(arguments.folder, "dashboards export")
    files = shipped()
    removed = export.write(target, files, export.Ours("floodmark-*.json", _is_ours, "its uid and tag tell"))
    sys.stdout.write("\n".join(_told(target, files, removed)) + "\n")
    return 0


def _is_ours(path: Path) -> bool:
    try:
        document = json.loads(path.read_text("utf-8"))
        return bool(document["uid"] == path.stem and _TAG in document["tags"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return False


def _told(target: Path, files: Iterable[str], removed: Iterable[str]) -> list[str]:
    names = list(files)
    return [
        f"Wrote {len(names)} files to {target}: {', '.join(names)}",
        *(f"Removed {name}: floodmark has no such file any more" for name in removed),
        "",
        "Next, in the browser: Dashboards, New, Import, each file; its Prometheus is chosen at its top.",
        "Or for good, in /etc/grafana/provisioning/dashboards/floodmark.yml:",
        "",
        "  apiVersion: 1",
        "  providers:",
        f"    - name: {_FOLDER}",
        f"      folder: {_FOLDER}",
        "      type: file",
        "      allowUiUpdates: false",
        f"      options: {{path: {json.dumps(str(target.absolute()), ensure_ascii=False)}}}",
        "",
        "then: systemctl restart grafana-server",
        "",
        f"Not to forget: {_NEEDED}",
    ]


# --- Grafana


def _push(arguments: argparse.Namespace) -> int:
    if not arguments.timeout > 0:
        raise config.ConfigError(f"--timeout {arguments.timeout:g}: must be more than 0 seconds")
    if arguments.folder is not None and not arguments.folder.strip():
        raise config.ConfigError("--folder is empty: give it a title")
    grafana = Grafana(
        address(arguments.grafana, os.environ), token(arguments.token_file, os.environ), arguments.timeout
    )
    done: list[str] = []
    try:
        for line in _pushed(grafana, arguments, done):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()  # above the error that may follow
    except FailedError as error:
        sys.stderr.write(f"floodmark dashboards push: {error}\n")
        if done:
            sys.stderr.write(
                f"Done before that: {', '.join(done)}. Once it is mended type the same again: what is equal"
                " is left alone\n"
            )
        return 1
    return 0


def address(given: str | None, environ: Mapping[str, str]) -> str:
    """Return Grafana's address without a slash at the end.

    Raises:
        ConfigError: there is none, or it is no such address; the text shows no password in it.
    """
    name = "--grafana" if given is not None else "GRAFANA_URL"
    text = (given if given is not None else environ.get("GRAFANA_URL", "")).strip()
    if not text:
        raise config.ConfigError(
            "no Grafana: give --grafana URL, or set GRAFANA_URL: its address, like"
            " https://grafana.example.org"
        )
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if "@" in text.partition("?")[0]:
        raise config.ConfigError(
            f"{name}: holds a name or password, which others see in the list of processes. Leave it out, and"
            f" give a service account's token ({ACCOUNT}) in a file: --token-file FILE"
        )
    if not host or parts.scheme not in {"http", "https"} or len(text.split()) > 1:
        raise config.ConfigError(f"{name} {text}: no address: it must be like https://grafana.example.org")
    if parts.query or parts.fragment:
        raise config.ConfigError(
            f"{name} {text}: leave out what begins with ? or #, and the path of a dashboard: like"
            f" {parts.scheme}://{parts.netloc}"
        )
    return text.rstrip("/")


def token(given: str | None, environ: Mapping[str, str]) -> str:
    """Return the token.

    Raises:
        ConfigError: there is none, or it can't be right; the text shows nothing of it.
    """
    for name, path in (("--token-file", given), ("GRAFANA_TOKEN_FILE", environ.get("GRAFANA_TOKEN_FILE"))):
        if path or (path is not None and name == "--token-file"):
            if re.match(r"gl(sa|c)_|eyJ", path):
                raise config.ConfigError(f"{name} wants a file that holds the token, not the token itself")
            return _token(secretfile.read(path, name, _LIKE), f"{name} {path}")
    if text := environ.get("GRAFANA_TOKEN"):
        return _token(text, "GRAFANA_TOKEN")
    raise config.ConfigError(
        "no token: give --token-file FILE, or set GRAFANA_TOKEN_FILE (a file that holds it) or GRAFANA_TOKEN."
        f" Grafana makes one under {ACCOUNT}: Add service account with the role Editor, Add token"
    )


def _token(text: str, source: str) -> str:
    text = text.strip()
    if not text:
        raise config.ConfigError(f"{source}: empty: it must hold the token, like {_LIKE}")
    if text[0] in "\"'" or len(text.split()) > 1 or not (text.isascii() and text.isprintable()):
        raise config.ConfigError(
            f"{source}: must hold the token alone, like {_LIKE}: no quotes, no 'Bearer', one line"
        )
    return text


def _pushed(grafana: Grafana, arguments: argparse.Namespace, done: list[str]) -> Iterator[str]:
    """Push, and yield the lines that tell it; ``done`` gets what has been."""
    version = grafana.version()
    yield " ".join(filter(None, ("Grafana", version, "at", grafana.url)))
    sources = grafana.datasources()
    chosen = _datasource(arguments.datasource, sources)
    title, folder = _folder(grafana, (arguments.folder or _FOLDER).strip())
    keep = arguments.folder is None
    steps = [_step(grafana, json.loads(text), folder, chosen, keep=keep) for text in shipped().values()]
    missing = any(step.folder is None for step in steps)
    if arguments.dry_run:
        if missing:
            yield f"create   folder {title}"
        yield from (_line(step, step.verdict, grafana) for step in steps)
        yield f"Nothing is written, nor is it tried whether the token may: --dry-run. {_sum(steps, _TO_DO)}"
    else:
        if missing:
            folder = grafana.create_folder(title, _FOLDER if title == _FOLDER else None)
            done.append(f"folder {title}")
            yield f"created  folder {title}"
        for step in steps:
            if step.verdict != "equal":
                into = folder if step.folder is None else step.folder
                try:
                    grafana.save(step.dashboard, into or "", overwrite=step.verdict != "create")
                except FailedError as error:
                    raise FailedError(f"{step.uid}: {error}") from error
                done.append(step.uid)
            yield _line(step, _DONE[step.verdict], grafana)
        together = all(step.folder in (None, folder) for step in steps)
        yield f"{f'In the folder {title}' if together else 'Done'}: {_sum(steps, _DONE)}"
    yield from (f"Note: {note}" for note in _notes(sources, chosen))
    if any(step.verdict == "create" for step in steps):
        yield f"Note: {_NEEDED}"


def _line(step: Step, verdict: str, grafana: Grafana) -> str:
    return f"{verdict:8} {step.uid:19} {grafana.url}/d/{step.uid}{step.note}"


def _sum(steps: Iterable[Step], words: Mapping[str, str]) -> str:
    counts = Counter(step.verdict for step in steps)
    return ", ".join(f"{counts[each]} {word}" for each, word in words.items() if counts[each])


def _datasource(given: str | None, sources: list[Json] | None) -> Json | None:
    """Return the data source that was asked for by name or uid, None for none."""
    if given is None:
        return None
    if sources is None:
        raise FailedError(
            "this token may not see data sources: that takes the permission datasources:read, which the role"
            " Admin has. Without --datasource it goes on: each dashboard has a list of them at its top"
        )
    found = [each for each in sources if given in (each.get("uid"), each.get("name"))]
    prometheus = [str(each.get("name")) for each in sources if each.get("type") == "prometheus"]
    there = f"there are: {', '.join(prometheus)}" if prometheus else "it has no Prometheus at all"
    if not found:
        raise FailedError(f"--datasource {given}: Grafana has none of that name or uid; {there}")
    if found[0].get("type") != "prometheus":
        raise FailedError(
            f"--datasource {given}: is of type {found[0].get('type')}, and must be prometheus; {there}"
        )
    return found[0]


def _folder(grafana: Grafana, title: str) -> tuple[str, str | None]:
    """Return a folder's title and uid, None as its uid where it has to be made.

    Ours keeps its uid when somebody gives it another title or puts it into another folder: it is found there.
    """
    for each in grafana.folders():
        if each.get("title") == title and each.get("uid"):
            return title, str(each["uid"])
    if title == _FOLDER and (found := grafana.folder(_FOLDER)):
        return str(found.get("title") or title), _FOLDER
    return title, None


def _step(grafana: Grafana, wanted: Json, folder: str | None, chosen: Json | None, *, keep: bool) -> Step:
    """Return what has to become of a dashboard; ``keep`` leaves it in the folder it is in."""
    found = grafana.dashboard(wanted["uid"])
    there, meta = found or ({}, {})
    _open_on(wanted, there, chosen)
    if not found:
        return Step(wanted, "create", folder)
    same = _meaning(there) == _meaning(wanted)
    if meta.get("provisioned"):
        if not same:
            raise FailedError(f"{wanted['uid']}: {PROVISIONED}. Nothing is written")
        return Step(wanted, "equal", meta.get("folderUid") or "", " (from a file)")
    there_now = meta.get("folderUid") or ""
    elsewhere = there_now != folder
    moved = elsewhere and not keep
    name = meta.get("folderTitle") or there_now or "?"
    note = f" ({'from' if moved else 'stays in'} the folder {name})" if elsewhere else ""
    verdict = "change" if not same else "move" if moved else "equal"
    return Step(wanted, verdict, folder if moved else there_now, note)


def _open_on(wanted: Json, there: Json, chosen: Json | None) -> None:
    """Set which data source a dashboard opens on: the chosen one, else what it opens on there."""
    if chosen:
        _variable(wanted)["current"] = {"text": chosen.get("name"), "value": chosen.get("uid")}
    elif current := _variable(there).get("current"):
        _variable(wanted)["current"] = current


def _variable(dashboard: Json) -> Json:
    """Return the variable that chooses the data source; of a dashboard that has none, an empty one."""
    try:
        return next(each for each in dashboard["templating"]["list"] if each["name"] == _VARIABLE)
    except (LookupError, TypeError, StopIteration):
        return {}


def _meaning(dashboard: Json) -> Any:  # noqa: ANN401  # JSON
    """Return what of a dashboard people see: Grafana takes a null and nothing for the same."""
    return _without_nulls({key: value for key, value in dashboard.items() if key not in _GRAFANAS_OWN})


def _without_nulls(value: Any) -> Any:  # noqa: ANN401  # any JSON in, the same out
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return value


def _notes(sources: list[Json] | None, chosen: Json | None) -> Iterator[str]:
    """Yield what the dashboards lack there."""
    if sources is None or chosen:
        return
    names = [str(each.get("name")) for each in sources if each.get("type") == "prometheus"]
    if not names:
        yield (
            "this Grafana has no Prometheus, and without one the dashboards show nothing: Connections, Data"
            " sources, Add new data source, Prometheus"
        )
    elif len(names) > 1:
        yield (
            f"there is more than one Prometheus ({', '.join(names)}): choose at the top of a dashboard, or"
            " for all with --datasource"
        )
