"""A Flask and a Starlette app of the same routes that tell the agent; run by real gunicorn, live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Flask, abort
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

import floodmark.agent.flask
import floodmark.agent.starlette

if TYPE_CHECKING:
    from starlette.requests import Request

wsgi = Flask(__name__)
floodmark.agent.flask.routes(wsgi)


@wsgi.get("/shop/<item>")
def show(item: str) -> str:
    return item


@wsgi.get("/shop/gone/<item>")
def gone(item: str) -> str:
    abort(404, item)


@wsgi.get("/shop/fail/<item>")
def fail(item: str) -> str:
    raise RuntimeError(item)


async def show_async(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.path_params["item"], background=BackgroundTask(str))


async def gone_async(_: Request) -> PlainTextResponse:
    raise HTTPException(404)


async def fail_async(request: Request) -> PlainTextResponse:
    raise RuntimeError(request.path_params["item"])


asgi = Starlette(
    routes=[
        Mount(
            "/shop",
            routes=[
                Route("/{item}", show_async),
                Route("/gone/{item}", gone_async),
                Route("/fail/{item}", fail_async),
            ],
        )
    ]
)
asgi.add_middleware(floodmark.agent.starlette.Routes)
