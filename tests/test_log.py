"""Structured logs."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from floodmark import log as logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_is_logfmt_with_its_fields_quoted_where_needed(stream: io.StringIO) -> None:
    logs.setup(form="logfmt", level="info", stream=stream)
    logging.getLogger("x").warning("worker %s", "ended", extra={"cause": "oom_kill", "why": 'a "b"\n'})
    time, rest = stream.getvalue().rstrip("\n").split(" ", 1)
    assert time.startswith("time=20")
    assert rest == 'level=warning msg="worker ended" cause=oom_kill why="a \\"b\\"\\n"'


def test_a_message_from_an_app_cannot_make_a_second_line(stream: io.StringIO) -> None:
    logs.setup(form="logfmt", level="info", stream=stream)
    logging.getLogger("x").info("found", extra={"app": "shop\nlevel=error msg=forged"})
    assert stream.getvalue().count("\n") == 1


def test_json_holds_the_same_and_a_traceback(stream: io.StringIO) -> None:
    logs.setup(form="json", level="info", stream=stream)
    try:
        int("broken")
    except ValueError:
        logging.getLogger("x").exception("failed", extra={"collector": "disk"})
    line = json.loads(stream.getvalue())
    assert (line["level"], line["msg"], line["collector"]) == ("error", "failed", "disk")
    assert "ValueError: invalid literal" in line["traceback"]


def test_lower_levels_are_left_out(stream: io.StringIO) -> None:
    logs.setup(form="logfmt", level="warning", stream=stream)
    logging.getLogger("x").info("quiet")
    assert stream.getvalue() == ""
    assert sys.stderr not in logging.getLogger().handlers
