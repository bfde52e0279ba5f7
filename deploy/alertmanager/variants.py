"""variants/ of alertmanager.yml: one file for each of Slack and a heartbeat being there or not.

Alertmanager can't leave out a receiver whose secret isn't there: it would fail at every notification, and
nobody could tell that from a webhook that is down. A receiver without integrations tells nobody.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Collection

SHIPPED = Path(__file__).with_name("alertmanager.yml")
FOLDER = SHIPPED.parent / "variants"
_WAYS = {"slack": "slack_configs", "heartbeat": "webhook_configs"}
_HEAD = "# Written by make docs from ../alertmanager.yml, which has the reasons.\n"


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
