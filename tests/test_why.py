"""``floodmark why``, as it is typed, and what it says."""

import dataclasses
import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from floodmark import state
from floodmark.commands import why
from floodmark.config import Address
from floodmark.exposition import Page
from floodmark.gunicorn import deaths
from floodmark.gunicorn.deaths import Circumstances, Death
from floodmark.gunicorn.kept import Kept
from floodmark.gunicorn.verdict import CAUSES
from floodmark.server import Server
from floodmark.sources.available import Available
from floodmark.state import State
from tests.support.live import free_port

NOW = 1795159671.0


def death(app: str = "shop", cause: str = "oom_kill", time: float = NOW) -> Death:
    return Death(
        time=time,
        app=app,
        pid=4711,
        slot=2,
        age=90061.4,
        cause=cause,
        confidence="confirmed",
        evidence=("kernel log: killed process 4711 for memory (host limit)", "180 MiB anonymous memory"),
        resident_bytes=180 << 20,
        peak_bytes=190 << 20,
        circumstances=Circumstances(
            oom_limit="host", memory_bytes=1 << 30, swap_bytes=0, workers=8, max_requests=0
        ),
    )


def text(died: Death) -> str:
    return "\n".join(line for _, line in why.lines(died, NOW + 4000))


def run(*arguments: str, **environ: str) -> tuple[int, str, str]:
    command = [str(Path(sys.executable).with_name("floodmark")), "why", *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FLOODMARK_")}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=20, check=False, env=clean | environ
    )
    return done.returncode, done.stdout, done.stderr


class Exporter:
    """Serves records at its address."""

    def __init__(self) -> None:
        self.page = b""
        self.server = Server(Address("127.0.0.1", 0), lambda _: Page(b"", ""), lambda: self.page)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def has(self, *records: Death, since: float = NOW) -> None:
        self.page = deaths.page(since, records)


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    exporter = Exporter()
    thread = threading.Thread(target=exporter.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield exporter
    exporter.server.shutdown()
    thread.join()
    exporter.server.server_close()


@pytest.fixture
def nowhere() -> str:
    return f"http://127.0.0.1:{free_port()}"


def kept_in(folder: Path, *records: Death) -> None:
    kept = Kept("", NOW, NOW, None, (), {}, {}, (), records)
    State(folder, Available()).keep(kept)


def test_a_death_says_what_when_why_how_sure_how_big_and_what_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(why, "_local", lambda when: f"local time {when:.0f}")
    assert text(death()) == (
        """\
shop: worker 2 killed by the kernel: out of memory
  when      local time 1795159671, 1 h 6 min ago
  cause     oom_kill, confirmed
  evidence  kernel log: killed process 4711 for memory (host limit)
            180 MiB anonymous memory
  worker    pid 4711, lived 1 d 1 h, 180 MiB at the last look, 190 MiB at most
  next      - The host's 1.0 GiB were used up: run fewer workers than 8
              (--workers), or take a host with more memory.
            - This host has no swap. Some gives you time to act, no cure:
              fallocate -l 1G /swapfile && chmod 600 /swapfile && mkswap
              /swapfile && swapon /swapfile
            - No worker is ever recycled. If their memory creeps up over hours
              or days: --max-requests 1000 --max-requests-jitter 100"""
    )


@pytest.mark.parametrize("cause", CAUSES)
def test_every_cause_fits_a_terminal_of_80_columns(cause: str) -> None:
    assert [
        line for line in text(death("a-shop-with-a-long-name" * 3, cause)).splitlines() if len(line) > 79
    ] == []


def test_what_a_worker_was_doing_and_its_stack_are_told_where_they_are_known() -> None:
    told = Death(
        **{
            **{name: getattr(death(), name) for name in Death.__slots__},
            "in_flight": ("GET /slow, 31 s",),
            "stack": "no stack\n  of Python's",
        }
    )
    assert "  doing     GET /slow, 31 s\n" in text(told)
    assert text(told).endswith("  stack     no stack\n              of Python's")


def test_what_is_the_apps_to_write_never_reaches_the_terminal_as_a_command() -> None:
    evil = "\x1b]0;owned\x07\x9b2J\r\u202e"
    told = dataclasses.replace(
        death(evil), in_flight=(f"GET /{evil}, 1.0 s",), stack=f"{evil}\n{evil}", evidence=(evil,)
    )
    assert all(each.isprintable() for line in text(told).splitlines() for each in line)
    assert "owned" in text(told)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "just now"), (59, "59 s ago"), (61, "1 min 1 s ago"), (3600, "1 h ago"), (90061, "1 d 1 h ago")],
)
def test_a_span_is_told_in_its_two_largest_units(seconds: float, words: str) -> None:
    assert why._ago(seconds) == words  # noqa: SLF001 - the words are what a person reads


@pytest.mark.live
def test_the_newest_come_last_and_the_rest_is_a_flag_away(exporter: Exporter) -> None:
    exporter.has(*(death(f"app{number}", time=NOW + number) for number in range(7)))
    status, out, err = run("--url", exporter.url, "--last", "2")
    assert (status, err) == (0, "")
    assert [line.partition(":")[0] for line in out.splitlines() if line.startswith("app")] == ["app5", "app6"]
    assert "The last 2 of 7 unwanted deaths since" in out
    assert "More: --last 7" in out
    assert "\x1b" not in out


@pytest.mark.live
def test_one_apps_deaths_can_be_had_as_json(exporter: Exporter) -> None:
    exporter.has(death("shop"), death("blog"))
    status, out, _ = run("--url", exporter.url, "--app", "blog", "--json")
    assert status == 0
    document = json.loads(out)
    assert document["since"] == NOW
    assert [deaths.from_json(record) for record in document["deaths"]] == [death("blog")]


@pytest.mark.live
def test_no_deaths_are_good_news_with_their_date(exporter: Exporter) -> None:
    exporter.has(death("shop"))
    status, out, _ = run("--url", exporter.url, "--app", "blog", TZ="UTC")
    assert status == 0
    assert out.startswith("No deaths of blog recorded since Fri 20 Nov 2026 07:27:51 (")


@pytest.mark.live
def test_where_no_exporter_answers_its_state_is_read(nowhere: str, tmp_path: Path) -> None:
    kept_in(tmp_path, death())
    for flags, environ in (
        (("--state-dir", str(tmp_path)), {}),
        ((), {"FLOODMARK_STATE_DIR": str(tmp_path)}),
    ):
        status, out, err = run("--url", nowhere, *flags, **environ)
        assert status == 0
        assert "oom_kill, confirmed" in out
        assert (
            f"No exporter answers at {nowhere} (Connection refused). This is what a stopped one kept" in err
        )


@pytest.mark.live
def test_where_neither_can_be_had_it_says_what_to_type(nowhere: str, tmp_path: Path) -> None:
    status, out, err = run("--url", nowhere)
    assert (status, out) == (1, "")
    assert f"no exporter answers at {nowhere} (Connection refused)" in err
    assert "floodmark serve" in err
    assert "--state-dir DIR" in err
    assert f"there is no {tmp_path / state.NAME}" in run("--url", nowhere, "--state-dir", str(tmp_path))[2]
    (tmp_path / state.NAME).write_text("{")
    status, _, err = run("--url", nowhere, "--state-dir", str(tmp_path))
    assert status == 1
    assert f"{tmp_path / state.NAME} can't be read" in err
    assert err.count("\n") == 1


@pytest.mark.live
@pytest.mark.parametrize("page", [b"<html>", b"[]", b"{}", b'{"since": 1, "deaths": [{}]}'])
def test_something_else_at_that_address_is_no_traceback(page: bytes, exporter: Exporter) -> None:
    exporter.page = page
    status, _, err = run("--url", exporter.url)
    assert status == 1
    assert "something else answers there" in err
    assert err.count("\n") == 1


@pytest.mark.live
@pytest.mark.parametrize("wrong", [("--url", "ftp://x"), ("--url", "127.0.0.1:9717"), ("--last", "0")])
def test_a_wrong_flag_is_a_usage_error(wrong: tuple[str, str]) -> None:
    status, _, err = run(*wrong)
    assert status == 2
    assert "Traceback" not in err


@pytest.mark.live
def test_a_terminal_gets_colour_unless_it_wants_none(exporter: Exporter) -> None:
    exporter.has(death())
    command = [str(Path(sys.executable).with_name("floodmark")), "why", "--url", exporter.url]
    for environ, coloured in ((os.environ, True), ({**os.environ, "NO_COLOR": "1"}, False)):
        ours, theirs = pty.openpty()
        with subprocess.Popen(command, stdout=theirs, env=environ) as process:
            os.close(theirs)
            out = b""
            while chunk := read(ours):
                out += chunk
        os.close(ours)
        assert process.returncode == 0
        assert (b"\x1b[1m" in out) is coloured


def read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # what a terminal says when its other side is closed
        return b""
