"""What is missing is said once, with what mends it."""

import logging

import pytest

from floodmark.sources.available import Available, Lack

LACK = Lack("can't read", "certainty", "CAP_SYSLOG")


def test_a_lack_is_logged_once_and_its_mending_once(caplog: pytest.LogCaptureFixture) -> None:
    available = Available()
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            available.lacking(LACK, "kernel_log")
        for _ in range(3):
            available.good("kernel_log")
    assert [record.getMessage() for record in caplog.records] == ["can't read", "source works again"]
    assert caplog.records[0].__dict__["grant"] == "CAP_SYSLOG"


def test_a_source_is_available_only_if_every_app_has_it() -> None:
    available = Available()
    available.good("gunicorn_log", "shop")
    available.lacking(LACK, "gunicorn_log", "blog")
    assert available.by_source() == {"gunicorn_log": False}
    available.forget("blog")
    assert available.by_source() == {"gunicorn_log": True}
