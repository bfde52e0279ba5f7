"""A host that is played to a real Prometheus: its series as functions of time, as history and as a page.

What is faster than life is how soon one thing follows another, not how much there is of it: 10 requests a
second are 10 in a second of the clock on the wall.
"""

from __future__ import annotations

import abc
import http.server
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import requests
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

# `name{label="value"}` to the value.
Series = dict[str, float]


class Story(NamedTuple):
    """What is played.

    Attributes:
        series: the series at a second of the story; before second 0, of the wall's clock (history).
        faster: seconds of the story in a second of the wall's clock.
        target: the labels that a scrape adds.
    """

    series: Callable[[float], Series]
    faster: float
    target: dict[str, str]

    @property
    def every(self) -> int:
        """The 15 s between scrapes, in milliseconds of the wall's clock."""
        return int(15_000 / self.faster)


def label(series: str, target: dict[str, str]) -> str:
    """Return a series with the labels that a scrape adds to it."""
    name, _, labels = series.removesuffix("}").partition("{")
    added = [f'{key}="{value}"' for key, value in target.items()]
    return f"{name}{{{','.join([*added, *([labels] if labels else [])])}}}"


class PageServer(http.server.ThreadingHTTPServer, abc.ABC):
    """Serves one page, on a free port of 127.0.0.1."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    @abc.abstractmethod
    def page(self) -> bytes:
        """The page of now, in the text format."""


class _Page(http.server.BaseHTTPRequestHandler):
    server: PageServer

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(self.server.page())

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


class Played(PageServer):
    """Serves a story's page of now. The story stands at its second 0 until `begin`."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._began: float | None = None
        super().__init__()

    def begin(self) -> float:
        """Start the story and return when, on the monotonic clock."""
        self._began = time.monotonic()
        return self._began

    def page(self) -> bytes:
        """The series of now."""
        now = 0.0 if self._began is None else (time.monotonic() - self._began) * self._story.faster
        return "".join(f"{name} {value!r}\n" for name, value in self._story.series(now).items()).encode()


class Prometheus:
    """A real one on a folder of its own.

    Args:
        folder: where it keeps all it has.
        programs: prometheus and promtool.
    """

    def __init__(self, folder: Path, programs: tuple[Path, Path]) -> None:
        self._folder = folder
        self._prometheus, self._promtool = programs
        self._data = folder / "prometheus"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def remember(self, story: Story, seconds: float, rules: list[Path]) -> None:
        """Give it the last seconds (of the wall's clock) before the story, and what rules record of them."""
        every = story.every / 1000
        now = time.time()
        times = [now - step * every for step in range(int(seconds / every), 0, -1)]
        pages = [story.series(at - now) for at in times]
        self.load(
            (label(series, story.target), zip(times, (page[series] for page in pages), strict=True))
            for series in story.series(0)
        )
        self.start({})
        self.record(rules, now - seconds, now, story.every)
        self.stop()

    def load(self, history: Iterable[tuple[str, Iterable[tuple[float, float]]]]) -> None:
        """Give it series as blocks: each with its labels, and its times and values, oldest first.

        It must not run, or be started anew, to see them.
        """
        text = self._folder / "history.om"
        with text.open("w", encoding="utf-8") as file:
            for series, points in history:  # each in one piece, as the format wants it
                file.writelines(f"{series} {value!r} {at:.3f}\n" for at, value in points)
            file.write("# EOF\n")
        self._run("openmetrics", str(text), str(self._data))
        text.unlink()

    def record(self, rules: list[Path], begin: float, end: float, every: int) -> None:
        """Have it, while it runs, write blocks of what rules record from one Unix time to another.

        `every` is in milliseconds. Rules don't see each other's series before it is started anew.
        """
        self._run(
            *("rules", f"--url={self.url}", f"--start={begin:.0f}", f"--end={end:.0f}"),
            *(f"--eval-interval={every}ms", f"--output-dir={self._data}", *map(str, rules)),
        )

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(
            # For each block all is read again: the fewer the better.
            [self._promtool, "tsdb", "create-blocks-from", "--max-block-duration=60h", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def start(self, config: dict[str, Any], *flags: str) -> None:
        """Start it with this configuration (and flags of its own) and wait until it answers.

        Raises:
            AssertionError: it doesn't; with what it said.
        """
        file = self._folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self.url = f"http://{address}"
        log = self._folder / "prometheus.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    *(self._prometheus, f"--config.file={file}", f"--storage.tsdb.path={self._data}"),
                    *(f"--web.listen-address={address}", *flags),
                ],
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + 30
        while not self._ready():
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)

    def _ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/-/ready", proxies={"no_proxy": "*"}, timeout=5).ok
        except requests.ConnectionError:
            return False

    def stop(self) -> None:
        """Stop it, if it runs."""
        if self._process:
            self._process.terminate()
            self._process.wait(timeout=30)
            self._process = None
