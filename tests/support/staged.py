"""The leaky app with the rest of what an app does: slow pages, failing ones, garbage collections."""

from __future__ import annotations

import gc
import time

from tests.support.leaky import app


@app.get("/slow/<float:seconds>")
def slow(seconds: float) -> str:
    time.sleep(seconds)
    return "at last"


@app.get("/fail")
def fail() -> str:
    raise RuntimeError("as a test wants it")


@app.get("/collect")
def collect() -> str:
    return str(gc.collect())


@app.get("/keep/<int:mebibytes>")
def keep(mebibytes: int) -> str:
    kept = [b"\1" * (1 << 20) for _ in range(mebibytes)]
    return str(len(kept))
