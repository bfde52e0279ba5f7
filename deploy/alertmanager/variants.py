#!/usr/bin/env python3
"""Write variants/ from alertmanager.yml: one file for each of Slack and a heartbeat being there or not.

Alertmanager can't leave out a receiver whose secret isn't there: it would fail at every notification, and
nobody could tell that from a webhook that is down. A receiver without integrations tells nobody.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

SHIPPED = Path(__file__).with_name("alertmanager.yml")
FOLDER = SHIPPED.parent / "variants"
_WAYS = {"slack": "slack_configs", "heartbeat": "webhook_configs"}
_HEAD = (
    "# Written by variants.py from ../alertmanager.yml, which says why: change that, then type: make docs\n"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write what differs and return 0; with --check write nothing, and return 1 if something differs."""
    parser = argparse.ArgumentParser(prog="variants.py", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file differs")
    check = parser.parse_args(arguments).check
    differing = {
        path: text
        for path, text in files().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    for path, text in differing.items():
        if check:
            sys.stderr.write(f"{path} differs from what it is made of. Type: make docs\n")
        else:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {path}\n")
    return 1 if check and differing else 0


def files() -> dict[Path, str]:
    """Each variant's text by its path, alertmanager.yml to alertmanager-slack-heartbeat.yml."""
    written = {}
    for chosen in itertools.product((False, True), repeat=len(_WAYS)):
        ways = [way for way, there in zip(_WAYS, chosen, strict=True) if there]
        config = variant(yaml.safe_load(SHIPPED.read_text(encoding="utf-8")), ways)
        if "templates" in config:
            # One folder up, where the container has them; the language is mounted under one name.
            config["templates"] = ["../templates/*.tmpl", "../language.tmpl"]
        name = "-".join(["alertmanager", *ways]) + ".yml"
        written[FOLDER / name] = _HEAD + dump(config)
    return written


def variant(config: dict[str, Any], ways: Collection[str]) -> dict[str, Any]:
    """The configuration with only these ways out: "slack", "heartbeat"."""
    dropped = {key for way, key in _WAYS.items() if way not in ways}
    changed = config | {
        "receivers": [
            {key: value for key, value in receiver.items() if key not in dropped}
            for receiver in config["receivers"]
        ]
    }
    if "slack" not in ways:
        del changed["global"], changed["templates"]
    return changed


class _Plain(yaml.SafeDumper):
    """Writes what is the same twice twice: Alertmanager's own reader allows aliases, people's eyes don't."""

    def ignore_aliases(self, _: object) -> bool:
        return True


def dump(config: dict[str, Any]) -> str:
    """A configuration as YAML, in the order given."""
    return yaml.dump(config, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110)


if __name__ == "__main__":
    sys.exit(main())
