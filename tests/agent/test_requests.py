"""What a worker counts of its requests: exactly, whatever the app and its clients do."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from floodmark.agent import asgi, requests, slab
from floodmark.agent import worker as workers
from floodmark.agent.rows import QUOTAS, ROUTE_MEASURED, ROUTE_SECONDS, ROUTE_STATUS, SUM
from floodmark.agent.slab import Cell
from tests.support import slabs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from floodmark.agent.asgi import Message, Receive, Scope, Send

NOW = 1_795_174_770.5


class Request:
    """As much of gunicorn's as is looked at."""

    def __init__(self, method: str, path: str) -> None:
        self.method, self.path = method, path
        self.headers: list[tuple[str, str]] = []


class Worker:
    """A slab with the hooks that write to it."""

    def __init__(self, folder: Path) -> None:
        self.slab = slabs.mine(folder)
        self.broken: list[str] = []
        self.hooks = requests.hooks(self.slab, lambda: self.broken.append("broken"), threaded=True)

    def begin(self, method: str = "GET", path: str = "/") -> Request:
        req = Request(method, path)
        self.hooks.pre_request(None, req)
        return req

    def end(self, req: Request, status: int = 200, environ: dict[str, str] | None = None) -> None:
        resp = SimpleNamespace(status_code=status, headers_sent=True)
        self.hooks.post_request(None, req, environ or {}, resp)

    def seen(self) -> slab.Snapshot:
        return slab.read(self.slab.path)

    def counts(self) -> dict[str, int]:
        rows = self.seen().rows().items()
        return {
            name.removeprefix("request "): int(sum(values[:SUM]))
            for name, values in rows
            if name.startswith("request ") and any(values)
        }


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path)


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        (f"t={NOW - 0.25}", 0.25),  # nginx: t=${msec}
        (f"{NOW - 0.25}", 0.25),
        (f"{(NOW - 0.25) * 1e3:.0f}", 0.25),  # Heroku: milliseconds
        (f"t={(NOW - 0.25) * 1e6:.0f}", 0.25),  # Apache's %t, New Relic: microseconds
        (f"t={(NOW - 0.25) * 1e9:.0f}", 0.25),
        (f"t={NOW - 0.25}, t={NOW}", 0.0),  # two proxies: the one nearer to the worker wrote last
        (f"t={NOW + 5}", 0.0),  # the proxy's clock is ahead
        (f"t={NOW - 7200}", None),
        ("t=", None),
        ("(null)", None),
        ("-1", None),
        ("nan", None),
        ("t=1e400", None),
        ("12", None),
    ],
)
def test_the_wait_before_the_worker_is_told_in_every_proxys_format(stamp: str, seconds: float | None) -> None:
    assert requests.waited(stamp, NOW) == (seconds if seconds is None else pytest.approx(seconds, abs=1e-3))


def test_a_request_is_in_flight_until_it_is_counted(worker: Worker) -> None:
    served = worker.begin("POST", "/orders")
    assert [each.text for each in worker.seen().in_flight()] == ["POST /orders"]
    assert worker.counts() == {}
    worker.end(served, 201)
    assert worker.seen().in_flight() == []
    assert worker.counts() == {"POST 201": 1}


def test_methods_that_nobody_knows_are_one(worker: Worker) -> None:
    for method in ("BREW", "PROPFIND", "x" * 1000, "GET"):
        worker.end(worker.begin(method))
    assert worker.counts() == {"other 200": 3, "GET 200": 1}


def test_a_flood_of_statuses_ends_in_one_row(worker: Worker) -> None:
    for status in range(200, 300):
        worker.end(worker.begin(), status)
    counts = worker.counts()
    assert counts["other other"] == 100 - QUOTAS["request"]
    assert sum(counts.values()) == 100


def test_more_requests_at_once_than_slots_are_all_counted(worker: Worker) -> None:
    served = [worker.begin(path=f"/{number}") for number in range(slab.SLOTS + 9)]
    assert len(worker.seen().in_flight()) == slab.SLOTS
    assert worker.seen().header()[Cell.CROWD] == 9
    for req in served:
        worker.end(req)
    assert worker.counts() == {"GET 200": slab.SLOTS + 9}
    assert worker.seen().header()[Cell.CROWD] == 0
    assert worker.seen().in_flight() == []


def test_sixteen_threads_lose_nothing(worker: Worker) -> None:
    def serve() -> None:
        for _ in range(2000):
            worker.end(worker.begin(), environ={"HTTP_X_REQUEST_START": "t=1"})

    threads = [threading.Thread(target=serve) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worker.counts() == {"GET 200": 32_000}
    assert worker.broken == []


def test_a_path_of_any_length_and_script_leaves_whole_characters(worker: Worker) -> None:
    worker.begin(path="/축제" * 100)
    worker.begin(path="/\udc80\x00")
    texts = {each.text for each in worker.seen().in_flight()}
    assert texts == {("GET " + "/축제" * 100).encode()[:232].decode(errors="ignore"), "GET ?"}


def test_paths_stay_secret_where_they_shall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOODMARK_AGENT_PATHS", "0")
    worker = Worker(tmp_path)
    worker.begin("POST", "/patients/kim")
    assert [each.text for each in worker.seen().in_flight()] == ["POST"]


def raising(worker: Worker, req: Request, error: BaseException, *, sent: bool = False) -> None:
    """Do as gunicorn does when the app raises: post_request in a finally, then perhaps an error page."""
    resp = SimpleNamespace(status_code=200, headers_sent=sent)
    try:
        try:
            raise error
        finally:
            worker.hooks.post_request(None, req, {}, resp)
    except type(error):
        pass


def test_an_error_page_counts_once_with_its_own_status_and_the_requests_time(worker: Worker) -> None:
    served = worker.begin()
    raising(worker, served, ValueError())
    assert worker.counts() == {}
    page = SimpleNamespace(status="500 Internal Server Error")
    worker.hooks.access(page, served, {"REQUEST_METHOD": "GET"}, timedelta(0))
    assert worker.counts() == {"GET 500": 1}
    assert worker.seen().rows()["request GET 500"][SUM] > 0


def test_an_answer_that_broke_off_counts_with_the_status_that_was_sent(worker: Worker) -> None:
    raising(worker, worker.begin(), ValueError(), sent=True)
    assert worker.counts() == {"GET 200": 1}


def test_a_client_that_left_before_its_answer_is_no_answer(worker: Worker) -> None:
    raising(worker, worker.begin(), BrokenPipeError())
    assert worker.counts() == {}
    assert worker.seen().in_flight() == []


def test_a_request_that_could_not_be_parsed_counts_by_its_error_page(worker: Worker) -> None:
    page = SimpleNamespace(status="400 Bad Request")
    worker.hooks.access(page, Request("GET", "/"), {"REQUEST_METHOD": "GET"}, timedelta(0))
    assert worker.counts() == {"GET 400": 1}


def test_a_server_that_calls_no_hooks_counts_by_its_access_log(worker: Worker) -> None:
    answer = SimpleNamespace(status="200 OK")
    worker.hooks.access(answer, [("Host", "a")], {"REQUEST_METHOD": "PUT"}, timedelta(seconds=3))
    assert worker.counts() == {"PUT 200": 1}
    assert 2.9 < worker.seen().rows()["request PUT 200"][SUM] < 3.1


def test_the_access_log_of_an_ordinary_request_counts_nothing(worker: Worker) -> None:
    served = worker.begin()
    worker.hooks.access(SimpleNamespace(status="200 OK"), served, {"REQUEST_METHOD": "GET"}, timedelta(0))
    worker.end(served)
    assert worker.counts() == {"GET 200": 1}


def test_whatever_is_broken_never_reaches_the_app(worker: Worker) -> None:
    worker.hooks.pre_request(None, object())
    worker.hooks.post_request(None, object(), None, object())
    served = worker.begin()
    worker.hooks.post_request(None, served, {}, SimpleNamespace(headers_sent=True))
    worker.hooks.access(object(), object(), None, timedelta(0))
    assert len(worker.broken) == 3
    worker.end(worker.begin())
    assert worker.counts() == {"GET 200": 1}


@pytest.mark.parametrize("own_first", [True, False])
def test_the_apps_own_hook_runs_beside_ours_and_its_error_is_the_apps(*, own_first: bool) -> None:
    called: list[str] = []

    def own(*_: object) -> None:
        called.append("own")
        raise LookupError

    setting = SimpleNamespace(get=lambda: own, default=None, value=None)
    workers._chain(setting, lambda *_: called.append("ours"), own_first=own_first)  # noqa: SLF001 - it has no other door
    with pytest.raises(LookupError):
        setting.value(None, None)
    assert called == (["own"] if own_first else ["ours", "own"])


def test_a_routes_row_has_answers_by_class_and_their_seconds(worker: Worker) -> None:
    for status in (200, 201, 404, 500):
        worker.end(worker.begin(), status, {"floodmark.route": "/items/<id>"})
    row = worker.seen().rows()["route /items/<id>"]
    assert row[ROUTE_STATUS : ROUTE_STATUS + 5] == [0, 2, 0, 1, 1]
    assert row[ROUTE_SECONDS] > 0


def test_blocks_are_not_told_of_a_request_that_was_not_alone(worker: Worker) -> None:
    worker.end(worker.begin(), environ={"floodmark.route": "/a"})
    first = worker.begin()
    worker.end(worker.begin(), environ={"floodmark.route": "/b"})
    worker.end(first, environ={"floodmark.route": "/a"})
    rows = worker.seen().rows()
    assert rows["route /a"][ROUTE_MEASURED] == 0
    assert rows["route /b"][ROUTE_MEASURED] == 0


def served_by(worker: Worker, app: Callable[..., Any], scope: dict[str, Any] | None = None) -> None:
    """Drive an ASGI app as a server does; what it raises is the server's."""

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(_: Message) -> None:
        pass

    whole: Scope = {"type": "http", "method": "GET", "path": "/", "headers": [], **(scope or {})}
    asyncio.run(asgi.counted(app, worker.hooks)(whole, receive, send))  # type: ignore[arg-type] # a coroutine


async def _respond(send: Send, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b"a", "more_body": True})
    await send({"type": "http.response.body", "body": b"b"})


def test_an_asgi_answer_counts_with_its_last_byte(worker: Worker) -> None:
    counted: list[dict[str, int]] = []

    async def app(_: Scope, __: Receive, send: Send) -> None:
        await _respond(send, 201)
        counted.append(worker.counts())  # a background task would run here

    served_by(worker, app, {"headers": [(b"x-request-start", b"t=1")]})
    assert counted == [{"GET 201": 1}]
    assert worker.counts() == {"GET 201": 1}
    assert worker.broken == []


def test_an_asgi_app_that_raises_or_says_nothing_counts_as_the_servers_500(worker: Worker) -> None:
    async def raises(_: Scope, __: Receive, ___: Send) -> None:
        raise LookupError

    async def silent(_: Scope, __: Receive, ___: Send) -> None:
        pass

    with pytest.raises(LookupError):
        served_by(worker, raises)
    served_by(worker, silent)
    assert worker.counts() == {"GET 500": 2}


def test_an_asgi_request_that_was_cancelled_is_no_answer(worker: Worker) -> None:
    async def cancelled(_: Scope, __: Receive, ___: Send) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        served_by(worker, cancelled)
    assert worker.counts() == {}
    assert worker.seen().in_flight() == []


def test_a_websocket_is_no_request(worker: Worker) -> None:
    async def app(*_: object) -> None:
        pass

    served_by(worker, app, {"type": "websocket"})
    assert worker.counts() == {}
