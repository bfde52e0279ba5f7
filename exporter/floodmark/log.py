"""Structured logs: one line an event, as logfmt for people or JSON for machines.

    time=2026-11-20T08:14:02Z level=warning msg="kernel log: permission denied" grant=CAP_SYSLOG

What is passed as ``extra`` becomes the line's fields.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import TextIO

_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def _fields(record: logging.LogRecord) -> dict[str, str]:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
    fields = {"time": stamp, "level": record.levelname.lower(), "msg": record.getMessage()}
    fields.update((key, str(value)) for key, value in record.__dict__.items() if key not in _OWN)
    if record.exc_info:
        fields["traceback"] = logging.Formatter().formatException(record.exc_info)
    return fields


class Logfmt(logging.Formatter):
    """``key=value`` pairs; a value with a space, a quote or a control character is quoted."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        return " ".join(f"{key}={self._value(value)}" for key, value in _fields(record).items())

    @staticmethod
    def _value(value: str) -> str:
        plain = value and value.isprintable() and not any(mark in value for mark in ' "=')
        return value if plain else json.dumps(value, ensure_ascii=False)


class Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        return json.dumps(_fields(record), ensure_ascii=False)


FORMATS: dict[str, type[logging.Formatter]] = {"logfmt": Logfmt, "json": Json}


def setup(*, form: str, level: str, stream: TextIO = sys.stderr) -> None:
    """Send all logs to ``stream``, in one of FORMATS, from ``level`` (debug, info, warning, error) up."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(FORMATS[form]())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
