"""The route of each request, as a real Django leaves it where the server sees it: environ or scope."""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

import django
import pytest
from django.conf import settings
from django.conf.urls.i18n import i18n_patterns
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test.utils import override_settings
from django.urls import include, path, re_path
from django.views.decorators.http import require_GET

if TYPE_CHECKING:
    from collections.abc import Callable
    from wsgiref.types import WSGIEnvironment

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="for tests",  # noqa: S106 - guards nothing
        ROOT_URLCONF=__name__,
        USE_I18N=True,
        LANGUAGE_CODE="en",
        LANGUAGES=[("en", "English"), ("de", "German")],
        LOGGING_CONFIG=None,
    )
    django.setup()

ROUTES = "floodmark.agent.django.routes"
# What most projects have behind it: sync and async able, an old sync one, one that ends requests early.
OTHERS = [
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    f"{__name__}.sync_only",
]


def sync_only(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    return lambda request: get_response(request)  # noqa: PLW0108 - a middleware as Django wants it


def hello(_: HttpRequest, **_values: object) -> HttpResponse:
    return HttpResponse("hello")


async def hello_async(_: HttpRequest, **_values: object) -> HttpResponse:
    await asyncio.sleep(0)
    return HttpResponse("hello")


def fail(_: HttpRequest) -> HttpResponse:
    raise RuntimeError("now")


def gone(_: HttpRequest) -> HttpResponse:
    raise Http404


def stream(_: HttpRequest, pieces: int) -> StreamingHttpResponse:
    return StreamingHttpResponse(str(piece) for piece in range(pieces))


async def stream_async(_: HttpRequest, pieces: int) -> StreamingHttpResponse:
    async def body() -> Any:  # noqa: ANN401 - an async generator
        for piece in range(pieces):
            yield str(piece)

    return StreamingHttpResponse(body())


urlpatterns = [
    path("", hello),
    path("item/<int:item>/", hello),
    path("async/<slug:item>/", hello_async),
    path("fail/", fail),
    path("gone/", gone),
    path("get/", require_GET(hello)),
    path("stream/<int:pieces>/", stream),
    path("stream-async/<int:pieces>/", stream_async),
    re_path(r"^year/(?P<year>[0-9]{4})/$", hello),
    path("api/<str:kind>/", include([path("list/", hello), re_path(r"^old/(?P<year>\d+)/$", hello)])),
    *i18n_patterns(path("about/", hello)),
]


def by_wsgi(url: str, method: str) -> str | None:
    environ: WSGIEnvironment = {"REQUEST_METHOD": method, "PATH_INFO": url, "wsgi.input": BytesIO()}
    setup_testing_defaults(environ)
    response = WSGIHandler()(environ, lambda *_: None)
    b"".join(response)
    response.close()
    found: str | None = environ.get("floodmark.route")
    return found


def by_asgi(url: str, method: str) -> str | None:
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": url,
        "query_string": b"",
        "headers": [(b"host", b"testserver")],
        "client": ("127.0.0.1", 1),
        "server": ("testserver", 80),
    }
    requests = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if requests:
            return requests.pop()
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    routes: list[str | None] = []

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            routes.append(scope.get("floodmark.route"))

    asyncio.run(ASGIHandler()(scope, receive, send))
    (found,) = routes
    return found


@pytest.fixture(params=[by_wsgi, by_asgi])
def route(request: pytest.FixtureRequest) -> Callable[..., str | None]:
    """Return what asks an app and returns the route that the server then finds, the answer read."""

    def ask(url: str, method: str = "GET", middleware: list[str] | None = None) -> str | None:
        with override_settings(MIDDLEWARE=middleware or [ROUTES, *OTHERS]):
            found: str | None = request.param(url, method)
            return found

    return ask


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/", "/"),
        ("/item/7/", "/item/<int:item>/"),
        ("/async/cat/", "/async/<slug:item>/"),
        ("/fail/", "/fail/"),
        ("/gone/", "/gone/"),
        ("/year/2026/", "/^year/(?P<year>[0-9]{4})/$"),
        ("/api/x/list/", "/api/<str:kind>/list/"),
        ("/api/x/old/7/", r"/api/<str:kind>/old/(?P<year>\d+)/$"),
        ("/en/about/", "/en/about/"),
        ("/de/about/", "/de/about/"),
    ],
)
def test_a_route_is_the_pattern_with_its_includes(
    url: str, expected: str, route: Callable[..., str | None]
) -> None:
    assert route(url) == expected


@pytest.mark.parametrize("first", [[ROUTES, *OTHERS], [*OTHERS, ROUTES], [ROUTES]])
def test_it_runs_in_the_mode_of_whatever_is_around_it(
    first: list[str], route: Callable[..., str | None]
) -> None:
    assert route("/item/7/", middleware=first) == "/item/<int:item>/"
    assert route("/async/cat/", middleware=first) == "/async/<slug:item>/"


def test_a_streamed_answer_has_its_route() -> None:
    with override_settings(MIDDLEWARE=[ROUTES]):
        assert by_wsgi("/stream/3/", "GET") == "/stream/<int:pieces>/"
        assert by_asgi("/stream-async/3/", "GET") == "/stream-async/<int:pieces>/"


def test_head_and_a_wrong_method_have_the_route_of_the_pattern(route: Callable[..., str | None]) -> None:
    assert route("/get/", "HEAD") == "/get/"
    assert route("/get/", "DELETE") == "/get/"


def test_what_no_pattern_matches_has_no_route(route: Callable[..., str | None]) -> None:
    assert route("/nowhere/7/") is None
    assert route("/item/7") is None, "a redirect to the trailing slash"
    assert route("/about/") is None, "a redirect to a language"
