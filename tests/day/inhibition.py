"""Which of the alerts that fire at once are told: Alertmanager's inhibit_rules, read from its configuration.

tests/alerts holds the real Alertmanager to the same rules, a pair at a time.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

ROOT = Path(__file__).parents[2]

Alert = frozenset[tuple[str, str]]  # its labels, alertname among them


class Matcher(NamedTuple):
    """One matcher; a label that an alert lacks is empty."""

    label: str
    operator: str
    value: str

    def takes(self, labels: dict[str, str]) -> bool:
        """Return whether an alert with these labels matches."""
        given = labels.get(self.label, "")
        alike = bool(re.fullmatch(self.value, given)) if "~" in self.operator else given == self.value
        return alike != self.operator.startswith("!")


class Rule(NamedTuple):
    """One inhibit rule."""

    source: tuple[Matcher, ...]
    target: tuple[Matcher, ...]
    equal: tuple[str, ...]


@cache
def rules() -> tuple[Rule, ...]:
    """Return the shipped rules."""
    shipped = yaml.safe_load((ROOT / "deploy/alertmanager/alertmanager.yml").read_text())
    return tuple(
        Rule(
            tuple(_matchers(rule["source_matchers"])),
            tuple(_matchers(rule["target_matchers"])),
            tuple(rule.get("equal", ())),
        )
        for rule in shipped["inhibit_rules"]
    )


def _matchers(written: list[Any]) -> Iterator[Matcher]:
    for text in written:
        parsed = re.fullmatch(r'\s*(\w+)\s*(=~|!~|!=|=)\s*"?(.*?)"?\s*', text)
        assert parsed, text
        yield Matcher(*parsed.groups())


def told(firing: Collection[Alert]) -> set[Alert]:
    """Return those that no other one silences."""
    labels = {alert: dict(alert) for alert in firing}
    silent = set()
    for rule in rules():
        sources, targets = (
            {alert for alert, has in labels.items() if all(matcher.takes(has) for matcher in matchers)}
            for matchers in (rule.source, rule.target)
        )
        # One that is both can't be silenced by one that is both: not even by itself.
        both = sources & targets
        silent |= {
            target
            for target in targets
            for source in (sources - both if target in both else sources)
            if all(labels[source].get(name, "") == labels[target].get(name, "") for name in rule.equal)
        }
    return set(firing) - silent
