"""The route of each request, as a real Flask leaves it in the environ."""

from __future__ import annotations

from typing import TYPE_CHECKING
from wsgiref.util import setup_testing_defaults

import flask
import pytest
from flask import Blueprint, Flask, Response
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from floodmark.agent.flask import routes

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication, WSGIEnvironment


def app() -> Flask:
    made = Flask("shop", static_folder=None)
    routes(made)

    @made.before_request
    def refuse() -> tuple[str, int] | None:
        return ("who are you?", 401) if flask.request.args.get("login") == "no" else None

    @made.get("/")
    def index() -> str:
        return "hello"

    @made.get("/item/<int:item>/")
    def item(item: int) -> str:
        return str(item)

    @made.get("/fail/<why>")
    def fail(why: str) -> str:
        raise RuntimeError(why)

    @made.get("/gone/<what>")
    def gone(what: str) -> str:
        flask.abort(404, what)

    @made.get("/stream/<int:pieces>")
    def stream(pieces: int) -> Response:
        return Response(str(piece) for piece in range(pieces))

    inner = Blueprint("inner", __name__, url_prefix="/inner/<kind>")
    inner.add_url_rule("/list", view_func=lambda kind: kind)
    outer = Blueprint("outer", __name__)
    outer.register_blueprint(inner)
    made.register_blueprint(outer, url_prefix="/api")
    return made


def route(app: WSGIApplication, path: str, method: str = "GET", query: str = "") -> str | None:
    """Return the route that an app left for a request, its response read to the end."""
    environ: WSGIEnvironment = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query}
    setup_testing_defaults(environ)
    response = app(environ, lambda *_: lambda _: None)
    for _ in response:
        pass
    if close := getattr(response, "close", None):
        close()
    found: str | None = environ.get("floodmark.route")
    return found


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "/"),
        ("/item/7/", "/item/<int:item>/"),
        ("/fail/now", "/fail/<why>"),
        ("/gone/cat", "/gone/<what>"),
        ("/stream/3", "/stream/<int:pieces>"),
        ("/api/inner/blue/list", "/api/inner/<kind>/list"),
    ],
)
def test_a_route_is_the_rule_with_its_blueprints_prefixes(path: str, expected: str) -> None:
    assert route(app(), path) == expected


def test_head_has_the_route_of_get() -> None:
    assert route(app(), "/item/7/", "HEAD") == "/item/<int:item>/"


def test_what_no_rule_matches_has_no_route() -> None:
    assert route(app(), "/nowhere/7") is None
    assert route(app(), "/item/7/", "DELETE") is None
    assert route(app(), "/item/7") is None, "a redirect to the trailing slash"


def test_a_request_that_is_refused_before_its_view_has_its_route() -> None:
    assert route(app(), "/item/7/", query="login=no") == "/item/<int:item>/"


def test_an_exception_that_leaves_the_app_has_left_its_route() -> None:
    propagating = app()
    propagating.testing = True
    environ: WSGIEnvironment = {"PATH_INFO": "/fail/now"}
    setup_testing_defaults(environ)
    with pytest.raises(RuntimeError, match="now"):
        propagating(environ, lambda *_: lambda _: None)
    assert environ["floodmark.route"] == "/fail/<why>"


def test_apps_mounted_beside_each_other_keep_their_routes_apart() -> None:
    admin = Flask("admin")
    routes(admin, mounted_at="/admin")
    admin.add_url_rule("/", view_func=lambda: "admin")
    both = DispatcherMiddleware(app(), {"/admin": admin})
    assert route(both, "/") == "/"
    assert route(both, "/admin/") == "/admin/"


def test_async_views_have_their_route() -> None:
    made = Flask("async")
    routes(made)

    @made.get("/wait/<int:seconds>")
    async def wait(seconds: int) -> str:
        return str(seconds)

    assert route(made, "/wait/1") == "/wait/<int:seconds>"
