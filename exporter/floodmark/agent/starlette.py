"""Requests by route of a Starlette or FastAPI app: one line, the last to add middleware, so it is outermost.

    from floodmark.agent.starlette import Routes

    app.add_middleware(Routes)

A route is the path as the code has it, with the prefixes of its mounts and routers: ``/shop/{item:int}``.
What is mounted and has no routes to see (StaticFiles, a WSGI app) is one route: ``/static/{path:path}``. A
request that nothing matches has none. Starlette 0.27 and FastAPI 0.100, and newer.
"""

from __future__ import annotations

import contextlib
import re
import sys
from typing import TYPE_CHECKING, Any

from starlette.routing import compile_path

from floodmark.agent.routes import ROUTE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Iterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Routes:
    """Middleware that tells the agent the route of each request.

    A router writes the endpoint it chose into the scope that the server gave. Only newer versions also say
    by which route, and none through which mounts and included routers. So the app's routes are read once,
    into a table from endpoint to route.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._read = -1
        self._only: dict[int, str] = {}
        self._several: dict[int, list[tuple[re.Pattern[str], str]]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, and note the route when the answer starts; that of an app around this one is noted last."""
        # What mounts change on the way is taken before.
        outermost, path, root = scope.get("app"), scope.get("path", ""), scope.get("root_path", "")

        def note() -> None:
            endpoint = scope.get("endpoint")
            if endpoint is not None:
                route = self._only.get(id(endpoint))
                if route is None:
                    with contextlib.suppress(Exception):  # a route unknown is no reason for the app to fail
                        route = self._choose(endpoint, outermost, path, root)
                if route is not None:
                    scope[ROUTE] = route

        def noted(message: Message) -> Awaitable[None]:
            # Not when the app returns: a request is counted when its answer ends, before background tasks.
            if message["type"] == "http.response.start":
                note()
            return send(message)

        try:
            await self._app(scope, receive, noted)
        except BaseException:
            note()  # the error page is sent further out
            raise

    def _choose(self, endpoint: object, app: Any, path: str, root: str) -> str | None:
        """Return the route of an endpoint that has several, or that isn't in the table yet."""
        if len(app.routes) != self._read:
            self._read = len(app.routes)
            self._tabulate(app.routes)
        if root and path.startswith(f"{root}/"):
            path = path[len(root) :]
        for pattern, route in self._several.get(id(endpoint), ()):
            if pattern.fullmatch(path):
                return route
        return self._only.get(id(endpoint))

    def _tabulate(self, routes: Iterable[Any]) -> None:
        paths: dict[int, dict[str, tuple[str, ...]]] = {}
        for endpoint, parts in _leaves(routes, ()):
            paths.setdefault(id(endpoint), {})["".join(parts)] = parts
        self._only = {known: next(iter(found)) for known, found in paths.items() if len(found) == 1}
        self._several = {
            known: [(_pattern(parts), route) for route, parts in found.items()]
            for known, found in paths.items()
            if len(found) > 1
        }


def _leaves(routes: Iterable[Any], prefix: tuple[str, ...]) -> Iterator[tuple[object, tuple[str, ...]]]:
    # FastAPI since it no longer copies an included router's routes; in others nothing needs unfolding.
    unfold = getattr(sys.modules.get("fastapi.routing"), "iter_route_contexts", iter)
    for route in unfold(routes):
        parts = (*prefix, getattr(route, "path", None) or "")
        if below := getattr(route, "routes", None):
            yield from _leaves(below, parts)
        elif endpoint := getattr(route, "endpoint", None):
            yield endpoint, parts
        elif app := getattr(route, "app", None):
            yield app, (*parts, "/{path:path}")


def _pattern(parts: tuple[str, ...]) -> re.Pattern[str]:
    # Each part by itself, and its groups nameless: a mount and a route in it may both have an {id}.
    joined = "".join(compile_path(part)[0].pattern[1:-1] for part in parts)
    return re.compile(re.sub(r"\(\?P<\w+>", "(?:", joined))
