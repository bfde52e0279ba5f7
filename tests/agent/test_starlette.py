"""The route of each request, as real Starlette and FastAPI leave it in the scope that the server gave."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Host, Mount, Route
from starlette.staticfiles import StaticFiles

from floodmark.agent.starlette import Routes

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Scope


def serve(app: ASGIApp, path: str, method: str = "GET", root_path: str = "") -> tuple[int, str | None]:
    """Return the status of a request, and the route in the server's scope when its answer is complete."""
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": root_path,
        "headers": [(b"host", b"shop.example.org"), (b"accept-encoding", b"gzip")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    statuses: list[int] = []
    routes: list[str | None] = []
    requests = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if requests:
            return requests.pop()
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
        elif not message.get("more_body"):
            routes.append(scope.get("floodmark.route"))

    async def call() -> None:
        await app(scope, receive, send)

    with contextlib.suppress(RuntimeError):  # the app's own, passed on after its 500
        asyncio.run(call())
    assert len(routes) == 1
    return statuses[0], routes[0]


async def hello(_: Request) -> Response:
    return PlainTextResponse("hello")


async def fail(_: Request) -> Response:
    raise RuntimeError("now")


async def stream(_: Request) -> Response:
    async def pieces() -> Any:  # noqa: ANN401 - an async generator
        for piece in range(3):
            yield str(piece)

    return StreamingResponse(pieces())


class View:
    """An endpoint that is a bound method."""

    async def show(self, _: Request) -> Response:
        return PlainTextResponse("shown")


def starlette(static: str = "/usr") -> Starlette:
    view = View()
    deep = Starlette(routes=[Route("/list/{page:int}", lambda _: PlainTextResponse("sync"))])
    return Starlette(
        routes=[
            Route("/", hello),
            Route("/hello/{name}", hello),
            Route("/fail/{why}", fail),
            Route("/stream", stream),
            Route("/view/{id}", view.show),
            Mount("/static", StaticFiles(directory=static)),
            Mount("/shop/{id:int}", routes=[Route("/item/{id}", hello), Mount("/deep", deep)]),
            Host("other.example.org", Starlette(routes=[Route("/hosted", hello)])),
        ],
        middleware=[Middleware(Routes)],
    )


@pytest.mark.parametrize(
    ("path", "status", "expected"),
    [
        ("/", 200, "/"),
        ("/hello/ann", 200, "/hello/{name}"),
        ("/fail/now", 500, "/fail/{why}"),
        ("/stream", 200, "/stream"),
        ("/view/7", 200, "/view/{id}"),
        ("/shop/7/item/8", 200, "/shop/{id:int}/item/{id}"),
        ("/shop/7/deep/list/8", 200, "/shop/{id:int}/deep/list/{page:int}"),
        ("/static/nothing-here", 404, "/static/{path:path}"),
        ("/nowhere/7", 404, None),
        ("/shop/7/nowhere", 404, None),
        ("/shop/seven/item/8", 404, None),
        ("/stream/", 307, None),
    ],
)
def test_a_route_is_the_path_as_written_with_its_mounts(path: str, status: int, expected: str | None) -> None:
    assert serve(starlette(), path) == (status, expected)


def test_head_has_the_route_of_get_and_a_wrong_method_that_of_the_path() -> None:
    assert serve(starlette(), "/hello/ann", "HEAD") == (200, "/hello/{name}")
    assert serve(starlette(), "/hello/ann", "DELETE") == (405, "/hello/{name}")


@pytest.mark.parametrize("path", ["/api/hello/ann", "/hello/ann"])
def test_the_servers_root_path_is_no_part_of_a_route(path: str) -> None:
    assert serve(starlette(), path, root_path="/api") == (200, "/hello/{name}")


def test_an_endpoint_of_several_routes_is_told_apart_by_the_path() -> None:
    app = starlette()
    found = [serve(app, path)[1] for path in ("/", "/hello/ann", "/shop/1/item/2", "/hello/bob")]
    assert found == ["/", "/hello/{name}", "/shop/{id:int}/item/{id}", "/hello/{name}"]


def test_a_route_that_is_added_while_serving_is_found() -> None:
    app = starlette()
    assert serve(app, "/late/7") == (404, None)
    app.router.routes.append(Route("/late/{id}", View().show))
    assert serve(app, "/late/7") == (200, "/late/{id}")


def test_other_middleware_inside_hides_no_route() -> None:
    async def through(request: Request, call_next: Callable[[Request], Any]) -> Response:
        response: Response = await call_next(request)
        return response

    app = Starlette(routes=[Route("/hello/{name}", hello)])
    app.add_middleware(BaseHTTPMiddleware, dispatch=through)
    app.add_middleware(GZipMiddleware, minimum_size=1)
    app.add_middleware(Routes)
    assert serve(app, "/hello/ann") == (200, "/hello/{name}")


def test_an_app_whose_routes_cannot_be_read_is_served_all_the_same() -> None:
    class Odd(Route):
        @property
        def routes(self) -> list[object]:
            raise ValueError("not for you")

    app = Starlette(routes=[Odd("/odd", hello)], middleware=[Middleware(Routes)])
    assert serve(app, "/odd") == (200, None)


def fastapi() -> FastAPI:
    items = APIRouter(prefix="/items")

    @items.get("/{item}")
    async def show(item: int) -> int:
        return item

    @items.get("/sync/{item}")
    def show_sync(item: int) -> int:
        return item

    nested = APIRouter(prefix="/nested")
    nested.include_router(items)
    admin = FastAPI()
    admin.include_router(items)
    admin.add_middleware(Routes)

    app = FastAPI()

    @app.get("/fail/{why}")
    def fail(why: str) -> str:
        raise RuntimeError(why)

    app.include_router(items, prefix="/v1")
    app.include_router(nested, prefix="/v2")
    app.mount("/admin", admin)
    app.add_middleware(Routes)
    return app


@pytest.mark.parametrize(
    ("path", "status", "expected"),
    [
        ("/v1/items/7", 200, "/v1/items/{item}"),
        ("/v2/nested/items/7", 200, "/v2/nested/items/{item}"),
        ("/v2/nested/items/sync/7", 200, "/v2/nested/items/sync/{item}"),
        ("/v1/items/seven", 422, "/v1/items/{item}"),
        ("/admin/items/7", 200, "/admin/items/{item}"),
        ("/admin/nowhere", 404, None),
        ("/fail/now", 500, "/fail/{why}"),
        ("/openapi.json", 200, "/openapi.json"),
        ("/nowhere", 404, None),
    ],
)
def test_fastapi_routes_have_the_prefixes_of_their_routers(
    path: str, status: int, expected: str | None
) -> None:
    assert serve(fastapi(), path) == (status, expected)
