"""What a worker is doing, from what was seen of it."""

import pytest

from floodmark.gunicorn.saturation import Seen, State, Work, judge

BUSY, IDLE = State.BUSY, State.IDLE


@pytest.mark.parametrize(
    ("worker_class", "threads", "seen", "work"),
    [
        pytest.param("sync", 1, Seen(0, in_select=True), Work(IDLE, 0, 0), id="sync waits for a connection"),
        pytest.param("sync", 1, Seen(1), Work(BUSY, 1, 0), id="sync holds one"),
        pytest.param("sync", 1, Seen(0, in_select=False), Work(BUSY, 0, 0), id="sync boots"),
        pytest.param("sync", 1, Seen(0), Work(IDLE, 0, 0), id="sync, system calls can't be seen"),
        pytest.param("gthread", 4, Seen(0), Work(IDLE, 0, 0), id="gthread without connections"),
        pytest.param("gthread", 4, Seen(3, polled=3), Work(IDLE, 0, 0), id="gthread, kept alive"),
        pytest.param("gthread", 4, Seen(3, polled=1), Work(BUSY, 2, 0), id="gthread, one kept alive"),
        pytest.param("gthread", 2, Seen(10), Work(BUSY, 2, 8), id="gthread with more than threads"),
        pytest.param("gthread", None, Seen(10), Work(BUSY, 10, 0), id="gthread, threads unknown"),
        pytest.param("gevent", 1, Seen(5, polled=5), Work(BUSY, 5, 0), id="gevent polls what it works for"),
        pytest.param("asgi", 1, Seen(5), Work(BUSY, 5, 0), id="asgi serves many in one thread"),
        pytest.param(None, None, Seen(1), Work(BUSY, 1, 0), id="class unknown, a connection"),
        pytest.param(None, None, Seen(0), Work(IDLE, 0, 0), id="class unknown, none"),
    ],
)
def test_connections_tell_what_a_worker_does(
    worker_class: str | None, threads: int | None, seen: Seen, work: Work
) -> None:
    assert judge(worker_class, threads, seen) == work
