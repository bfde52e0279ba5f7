from __future__ import annotations

import io
import time
from wsgiref.handlers import SimpleHandler
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from deploy.demo import app


def _get(path: str, query: str = "") -> tuple[str, str]:
    """Status and body, by the standard library's own handler, strict about PEP 3333."""
    out = io.BytesIO()
    environ = {"SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": query}
    setup_testing_defaults(environ)
    SimpleHandler(io.BytesIO(), out, io.StringIO(), environ).run(validator(app.app))
    head, _, body = out.getvalue().decode().partition("\r\n\r\n")
    return head.splitlines()[0].partition(" ")[2], body


def test_the_front_page_leads_to_every_other_page() -> None:
    status, body = _get("/")
    assert status == "200 OK"
    for path in ("/report", "/upload", "/burn"):
        assert f'href="{path}?' in body


def test_a_report_waits_without_computing() -> None:
    began, cpu = time.monotonic(), time.thread_time()
    assert _get("/report", "seconds=0.5")[0] == "200 OK"
    waited, computed = time.monotonic() - began, time.thread_time() - cpu
    assert waited > 0.4
    assert computed < waited / 2


def test_an_upload_stays_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bytearray] = []
    monkeypatch.setattr(app, "_kept", kept)
    _get("/upload", "mib=1")
    _get("/upload", "mib=2")
    assert [len(upload) >> 20 for upload in kept] == [1, 2]


def test_a_burner_computes() -> None:
    cpu = time.thread_time()
    assert _get("/burn", "seconds=0.2")[0] == "200 OK"
    assert time.thread_time() > cpu


@pytest.mark.parametrize("query", ["mib=x", "mib=-1", "mib=nan", "mib=65", "mib=inf"])
def test_a_number_out_of_bounds_is_a_bad_request_and_takes_no_memory(
    query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bytearray] = []
    monkeypatch.setattr(app, "_kept", kept)
    status, body = _get("/upload", query)
    assert status == "400 Bad Request"
    assert "mib is a number from 0 to 64" in body
    assert not kept


def test_an_unknown_page_is_not_found() -> None:
    assert _get("/nowhere")[0] == "404 Not Found"
