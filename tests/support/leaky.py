"""A Flask app of ten routes, one of which leaks; run by real gunicorn in a live test."""

from __future__ import annotations

import json
from collections import deque
from functools import lru_cache

import flask
from flask import Blueprint, Flask, Response, abort

import floodmark.agent.flask
from floodmark.agent import routes

routes._MEASURING = 30.0  # noqa: SLF001 - so that enough is measured within seconds

app = Flask(__name__)
floodmark.agent.flask.routes(app)
shop = Blueprint("shop", __name__, url_prefix="/shop")

LEAKED = 200  # blocks a request: 100 dicts, each an object and its keys
_kept: list[object] = []
_recent: deque[str] = deque(maxlen=10)


@app.get("/")
def index() -> str:
    return "hello"


@app.get("/report/<int:year>")
def leaks(year: int) -> str:
    _kept.extend({"year": year} for _ in range(LEAKED // 2))
    return str(year)


@app.get("/json")
def as_json() -> Response:
    return Response(json.dumps([{"row": row} for row in range(200)]), mimetype="application/json")


@app.get("/stream")
def stream() -> Response:
    return Response(str(piece) for piece in range(100))


@app.get("/cycles")
def cycles() -> str:
    # Freed by the collector alone, now and then: no leak.
    for _ in range(20):
        ring: list[object] = []
        ring.append(ring)
    return "around"


@app.get("/recent/<name>")
def recent(name: str) -> str:
    _recent.append(name * 20)
    return " ".join(_recent)


@app.get("/missing/<name>")
def missing(name: str) -> str:
    abort(404, name)


@app.post("/upload")
def upload() -> str:
    return str(len(flask.request.get_data()))


@shop.get("/item/<int:item>")
def item(item: int) -> dict[str, int]:
    return {"item": item, "price": _price(item)}


@shop.get("/list")
def listing() -> list[int]:
    return sorted(range(500), key=lambda number: -number)


@lru_cache(maxsize=8)
def _price(item: int) -> int:
    return item**9


app.register_blueprint(shop)
