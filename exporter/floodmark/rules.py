"""The alert rules as a user wants them: thresholds, language and pace, by editing their text.

Text and not what YAML makes of it, so that each threshold keeps the comment that says why it is what it is.
What an edit may touch is found by position: YAML tells where an expression stands, and a tokenizer what in it
is a duration, so that a name (rate5m) or a string ("5m") stays as it is:

      - record: floodmark:threshold:disk_await_seconds
        expr: vector(0.010)
      - alert: DiskQueueHigh
        expr: device:node_disk_await_seconds:rate5m > scalar(floodmark:threshold:disk_await_seconds)
        for: 10m

PromQL's lexer: https://github.com/prometheus/prometheus/blob/main/promql/parser/lex.go
"""

from __future__ import annotations

import ast
import functools
import json
import math
import operator
import re
from typing import TYPE_CHECKING, NamedTuple, cast

import yaml

from floodmark.config import LANGUAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

THRESHOLD = "floodmark:threshold:"
# A threshold that is a stretch of time ahead, in seconds.
AHEAD = "_ahead_seconds"
# What a rule has that is a duration, as a group has.
_SPANS = {"interval", "query_offset", "for", "keep_firing_for"}
_MILLISECONDS = {
    "ms": 1,
    "s": 1000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
    "y": 31_536_000_000,
}
# PromQL before 3.x takes no duration for a number: whole minutes in seconds (120, 3600) are stretches of time
# too. Rules have no such number that is anything else, for what they compare with are thresholds.
_MINUTE = 60

_DURATION = r"(?:\d+(?:ms|[smhdwy]))+"
_ONE = re.compile(r"(\d+)(ms|[smhdwy])")
_TOKEN = re.compile(
    rf"""
    (?P<other>
        \\"(?:\\\\(?:\\.|[^\\])|\\[^"\\]|[^"\\])*\\"  # a string within a template's "..."
      | "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | `[^`]*`
      | \#[^\n]*
      | [A-Za-z_:][\w:]*
      | 0[xX][0-9a-fA-F]+
    )
  | (?P<range> \[[^\]]*\])
  | (?P<duration> {_DURATION})
  | (?P<number> (?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    """,
    re.VERBOSE | re.DOTALL,
)
# {{ ... }} of a template, and in it what query runs, as it is or filled in by printf.
_ACTION = re.compile(r'{{(?:"(?:[^"\\]|\\.)*"|`[^`]*`|[^"`])*?}}')
_QUERIED = re.compile(r'(\b(?:printf|query)\s+)("(?:[^"\\]|\\.)*"|`[^`]*`)')
_VERB = re.compile(r"(%[-+#0]*\d*(?:\.\d+)?[a-z%])")


class Change(NamedTuple):
    """What a threshold is and was, as it is written."""

    name: str
    value: str
    was: str


class _Edit(NamedTuple):
    start: int
    end: int
    text: str


class _Rule(NamedTuple):
    """A rule's keys and values by key."""

    fields: Mapping[str, tuple[yaml.Node, yaml.Node]]

    @property
    def threshold(self) -> str:
        """The threshold it records, without the prefix; empty if it records none."""
        record = self.fields["record"][1].value if "record" in self.fields else ""
        return str(record).removeprefix(THRESHOLD) if record.startswith(THRESHOLD) else ""


def number(text: str) -> float:
    """Return what a number or arithmetic of numbers comes to: ``2``, ``32 * 1024 * 1024``, ``+Inf``.

    Raises:
        ValueError: it is neither, or has no value.
    """
    if not re.fullmatch(r"(?:Inf|[0-9.]+(?:[eE][+-]?[0-9]+)?|[-+*/() ])+", text):
        raise ValueError(text)
    try:
        value = _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ArithmeticError, RecursionError) as error:
        raise ValueError(text) from error
    if math.isnan(value):  # whatever is compared with it is never more
        raise ValueError(text)
    return value


_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as value) if math.isfinite(float(value)):
            return float(value)
        case ast.Name(id="Inf"):
            return math.inf
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(op=op, left=left, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left), _value(right))
    raise SyntaxError


def thresholds(text: str) -> dict[str, str]:
    """Return the thresholds that a file of rules records: name (without the prefix) -> value as written."""
    return {rule.threshold: _inner(rule.fields["expr"][1]) for rule in _rules(text) if rule.threshold}


def durations(text: str) -> set[int]:
    """Return every duration of a file of rules, in milliseconds."""
    seen: set[int] = set()

    def note(duration: int) -> int:
        seen.add(duration)
        return duration

    for _ in _pace(text, set(), _Pace(note)):
        pass
    return seen


def export(text: str, values: Mapping[str, str], language: str, faster: int) -> tuple[str, list[Change]]:
    """Return a file of rules for a user, and what has been changed of its thresholds.

    Args:
        text: the file.
        values: thresholds that get another value, by name.
        language: of the messages, one of LANGUAGES; a text that isn't there in it stays English.
        faster: what every duration is divided by. One that it doesn't divide to whole milliseconds is rounded
            down, to 1 ms at the least: no more than "just before" (offset 1s) should be.
    """
    changes: list[Change] = []
    edits: list[_Edit] = []
    for rule in _rules(text):
        if rule.threshold and (rule.threshold in values or (faster > 1 and rule.threshold.endswith(AHEAD))):
            node = rule.fields["expr"][1]
            was = _inner(node)
            value = values.get(rule.threshold, was)
            if faster > 1 and rule.threshold.endswith(AHEAD):
                value = f"({value}) / {faster}"
            changes.append(Change(rule.threshold, value, was))
            edits.append(_Edit(node.start_mark.index, _end(text, node), f"vector({value})  # was {was}"))
    unspoken, said = _language(text, language)
    edits += said
    if faster > 1:
        edits += _pace(text, unspoken, _Pace(lambda each: max(min(each, 1), each // faster), faster))
    # A set, as what stands behind an alias (*name) is met once for each.
    for edit in sorted(set(edits), reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text, changes


def _inner(node: yaml.Node) -> str:
    """Return the value of a threshold's expression, ``vector(value)``."""
    expr = str(node.value).strip()
    found = re.fullmatch(r"vector\((.*)\)", expr, re.DOTALL)
    return found[1].strip() if found else expr


@functools.cache  # parsing takes ten times as long as all edits
def _groups(text: str) -> list[yaml.Node]:
    document = cast("yaml.Node", yaml.compose(text, Loader=yaml.SafeLoader))
    groups: list[yaml.Node] = _fields(document)["groups"][1].value
    return groups


def _rules(text: str) -> Iterator[_Rule]:
    for group in _groups(text):
        for rule in _fields(group)["rules"][1].value:
            yield _Rule(_fields(rule))


def _fields(node: yaml.Node) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    return {key.value: (key, value) for key, value in node.value}


def _end(text: str, node: yaml.Node) -> int:
    """Return where a value ends: a block's own end lies behind the empty lines below it."""
    start: int = node.start_mark.index
    return start + len(text[start : node.end_mark.index].rstrip())


# --- Language


def _language(text: str, language: str) -> tuple[set[int], list[_Edit]]:
    """Return where the texts start that nobody reads, and the edits that leave them out."""
    unspoken: set[int] = set()
    edits: list[_Edit] = []
    for rule in _rules(text):
        if "annotations" not in rule.fields:
            continue
        texts = _fields(rule.fields["annotations"][1])
        for name, (key, _) in texts.items():
            plain, _, suffix = name.rpartition("_")
            if plain not in texts or suffix not in LANGUAGES:
                continue
            if suffix == language:
                edits.append(_Edit(key.start_mark.index, key.end_mark.index, plain))
            left_out = plain if suffix == language else name
            left, value = texts[left_out]
            unspoken.add(value.start_mark.index)
            end = text.find("\n", _end(text, value))
            edits.append(_Edit(text.rfind("\n", 0, left.start_mark.index), len(text) if end < 0 else end, ""))
    return unspoken, edits


# --- Pace


class _Pace(NamedTuple):
    """What becomes of a duration (milliseconds to milliseconds), and what seconds are divided by."""

    duration: Callable[[int], int]
    faster: int = 1

    def durations(self, text: str) -> str:
        """Change every duration of a text that has nothing else with a digit."""
        return re.sub(_DURATION, lambda found: f"{self.duration(_milliseconds(found[0]))}ms", text)

    def query(self, text: str) -> str:
        """Change an expression."""
        return _TOKEN.sub(self._token, text)

    def _token(self, found: re.Match[str]) -> str:
        if found.lastgroup in ("duration", "range"):
            return self.durations(found[0])
        text = found[0]
        if found.lastgroup == "number" and text.isdecimal() and int(text) and int(text) % _MINUTE == 0:
            return f"({text} / {self.faster})"
        return text

    def template(self, text: str) -> str:
        """Change what a text queries."""
        return _ACTION.sub(self._action, text)

    def _action(self, found: re.Match[str]) -> str:
        if not re.search(r"\bquery\b", re.sub(r'"(?:[^"\\]|\\.)*"|`[^`]*`', "", found[0])):
            return found[0]
        return _QUERIED.sub(lambda asked: asked[1] + self._queried(asked[2]), found[0])

    def _queried(self, literal: str) -> str:
        # What printf fills in is no part of the expression: its %02d is no two days.
        parts = _VERB.split(literal[1:-1])
        if len(parts) == 1:
            return literal[0] + self.query(parts[0]) + literal[-1]
        # Strings of the expression go over the verbs in them: put back, verb by verb, what was taken out.
        verbs = parts[1::2]
        held = self.query(_HOLE.join(parts[::2]))
        for verb in verbs:
            held = held.replace(_HOLE, verb, 1)
        return literal[0] + held + literal[-1]


_HOLE = "\N{OBJECT REPLACEMENT CHARACTER}"


def _pace(text: str, unspoken: set[int], pace: _Pace) -> Iterator[_Edit]:
    for group in _groups(text):
        fields = _fields(group)
        yield from _spans(text, fields, pace)
        for each in fields["rules"][1].value:
            rule = _Rule(_fields(each))
            yield from _spans(text, rule.fields, pace)
            if not rule.threshold:
                yield from _changed(text, rule.fields["expr"][1], pace.query)
            if "annotations" in rule.fields:
                for _, value in rule.fields["annotations"][1].value:
                    if isinstance(value, yaml.ScalarNode) and value.start_mark.index not in unspoken:
                        yield from _changed(text, value, pace.template)


def _spans(text: str, fields: Mapping[str, tuple[yaml.Node, yaml.Node]], pace: _Pace) -> Iterator[_Edit]:
    for name in sorted(_SPANS & fields.keys()):
        yield from _changed(text, fields[name][1], pace.durations)


def _changed(text: str, node: yaml.Node, change: Callable[[str], str]) -> Iterator[_Edit]:
    start, end = node.start_mark.index, _end(text, node)
    # Quotes and escapes that are YAML's: it is written anew.
    if isinstance(node, yaml.ScalarNode) and node.style in ("'", '"'):
        changed = change(node.value)
        if changed != node.value:
            yield _Edit(start, end, json.dumps(changed, ensure_ascii=False))
    else:
        yield _Edit(start, end, change(text[start:end]))


def _milliseconds(duration: str) -> int:
    return sum(int(count) * _MILLISECONDS[unit] for count, unit in _ONE.findall(duration))
