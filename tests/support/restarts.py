"""A host whose floodmark stops and starts again, over a /proc of our own making."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from floodmark.gunicorn import kept as form
from floodmark.gunicorn.watch import SETTLE, Clock, Watch
from floodmark.sources.available import Available
from floodmark.sources.kernel import Kernel
from tests.gunicorn.test_watch import Host
from tests.support.proc_tree import end

if TYPE_CHECKING:
    from pathlib import Path

    from floodmark.gunicorn.deaths import Death
    from floodmark.gunicorn.kept import Kept
    from floodmark.sources.kmsg import KernelLog, OomKill


class RestartedHost(Host):
    """Has no process events, so that what is seen is what a start can find out; its log says the time."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.root = root
        self.sequence = 7
        self.missed: list[OomKill] = []
        self.kernel_log_complete = True
        self.boot("one")
        (self.proc / "self/ns").mkdir(parents=True)
        (self.proc / "self/ns/pid").symlink_to("pid:[1]")

    def boot(self, name: str) -> None:
        """Set the boot id."""
        path = self.proc / "sys/kernel/random/boot_id"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}\n")

    def kills_since(self, sequence: int) -> tuple[list[OomKill], bool]:
        assert sequence == self.sequence
        return self.missed, self.kernel_log_complete

    def start(self, kept: Kept | None = None) -> None:
        """Start a floodmark, from what an earlier one kept: it goes through JSON, as it would."""
        clock = Clock(wall=lambda: self.now, steady=lambda: self.now)
        kernel = Kernel(cast("KernelLog", self))
        self.watch = Watch(self.root, self.proc, {}, Available(), kernel=kernel, clock=clock)
        if kept:
            self.watch.restore(form.from_json(json.loads(form.dumps(kept))))
        self.watch.advance()

    def restart(self, seconds: float = 10) -> None:
        """Stop, with nothing but what was kept, and start so much later."""
        kept = self.watch.kept()
        self.now += seconds
        self.start(kept)

    def dies(self, pid: int) -> None:
        """Let a process end and be reaped."""
        end(self.proc, pid)
        children = self.proc / "100/task/100/children"
        left = [each for each in children.read_text().split() if each != str(pid)]
        children.write_text("".join(f"{each} " for each in left))

    def judged(self) -> dict[str, int]:
        """Let every verdict fall, and return the app's exits."""
        self.now += SETTLE + 1
        self.watch.advance()
        return self.exits()

    def deaths(self) -> list[Death]:
        """Return the records, oldest first."""
        return list(self.watch.kept().deaths)
