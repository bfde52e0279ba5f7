"""Drives a gunicorn sync worker in its own process, request by request, by the clock of its CPU time.

Its configuration file imports this: the worker is forked, set up and hooked as always, only its loop is
another one. A line on the inherited socket BENCH_CONTROL says how many requests; the answer is the CPU
seconds that handle_request took for them, system calls included.
"""

from __future__ import annotations

import functools
import os
import socket
import time
from typing import Any

from gunicorn.http import RequestParser

CHUNK = 50  # whose answers fit into the socket's buffer, so that nobody need read them meanwhile
_ADDRESS = ("127.0.0.1", 50000)
_REQUEST = (
    b"GET /hello HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n"
    b"Accept-Encoding: gzip\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\r\n"
)


def post_worker_init(worker: Any) -> None:  # noqa: ANN401 - gunicorn publishes no types
    """Take the place of the worker's loop."""
    worker.run = functools.partial(_run, worker)


def _run(worker: Any) -> None:  # noqa: ANN401 - as above
    with socket.socket(fileno=int(os.environ["BENCH_CONTROL"])) as control, control.makefile("r") as lines:
        control.sendall(b"0\n")
        for line in lines:
            worker.notify()
            control.sendall(b"%.9f\n" % _drive(worker, int(line)))


def _drive(worker: Any, count: int) -> float:  # noqa: ANN401 - as above
    spent = 0.0
    listener, handle = worker.sockets[0], worker.handle_request
    client, server = socket.socketpair()
    with client, server:
        for _ in range(count // CHUNK):
            requests = [next(RequestParser(worker.cfg, [_REQUEST], _ADDRESS)) for _ in range(CHUNK)]
            started = time.process_time()
            for request in requests:
                handle(listener, request, server, _ADDRESS)
            spent += time.process_time() - started
            client.recv(1 << 20)
    return spent
