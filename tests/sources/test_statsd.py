"""Gunicorn's StatsD packets, the real ones and hostile ones."""

import socket
from pathlib import Path

import pytest

from floodmark.sources import statsd
from floodmark.sources.statsd import Duration, Status


@pytest.mark.parametrize(
    ("packet", "told"),
    [
        (b"gunicorn.request.status.200:1|c|@1.0", [Status("", "200", 1)]),
        (b"shop.gunicorn.request.status.503:1|c|@1.0|#env:prod", [Status("shop", "503", 1)]),
        (b"team.shop.gunicorn.request.status.200:1|c|@0.1", [Status("team.shop", "200", 10)]),
        (b"agunicorn.request.status.200:1|c", [Status("a", "200", 1)]),  # gunicorn adds no dot to one letter
        (b"gunicorn.request.duration:12.5|ms", [Duration("", 0.0125)]),
        (b"gunicorn.requests:1|c|@1.0", []),
        (b"gunicorn.workers:4|g", []),
        (b"gunicorn.log.critical:1|c|@1.0", []),
        (
            b"gunicorn.request.duration:1|ms\ngunicorn.request.status.404:1|c\n",
            [Duration("", 0.001), Status("", "404", 1)],
        ),
    ],
)
def test_each_packet_gunicorn_sends_is_read(packet: bytes, told: list[Status | Duration]) -> None:
    assert list(statsd.parse(packet)) == told


@pytest.mark.parametrize(
    "packet",
    [
        b"rubbish",
        b"\xff\x00\x01",
        b"other.app.metric:1|c",
        b"gunicorn.request.status.200:x|c",
        b"gunicorn.request.status.200:-5|c",
        b"gunicorn.request.status.200:1|c|@0",
        b"gunicorn.request.status.200:1e300|c",
        b"gunicorn.request.duration:nan|ms",
        b"gunicorn.request.duration:inf|ms",
        b"gunicorn.request.duration:-1|ms",
        b"gunicorn.request.duration:1",
    ],
)
def test_a_hostile_packet_is_refused(packet: bytes) -> None:
    with pytest.raises(ValueError, match=r"gunicorn|bounds|float"):
        list(statsd.parse(packet))


def test_a_status_code_that_does_not_exist_makes_no_label() -> None:
    assert list(statsd.parse(b"gunicorn.request.status.999:1|c")) == []


def test_a_unix_socket_left_by_an_earlier_run_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "shop.sock"
    statsd.listen_unix(path).close()
    with (
        statsd.listen_unix(path) as receiver,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
    ):
        sender.sendto(b"hello", str(path))
        assert receiver.recv(10) == b"hello"


def test_a_file_that_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(OSError, match="in use"):
        statsd.listen_unix(path)
    assert path.read_text() == "data"
