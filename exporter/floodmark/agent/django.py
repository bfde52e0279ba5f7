"""Requests by route of a Django project: one line, the first of its list, so that no other hides a request.

    MIDDLEWARE = [
        "floodmark.agent.django.routes",
        ...,
    ]

A route is what Django calls ``resolver_match.route``, with the prefixes of each ``include``, and with the
leading slash that Django leaves out: ``/shop/<int:item>/``; of a ``re_path`` it is the expression as Django
shows it: ``/^shop/(?P<item>[0-9]+)/$``. Under ``i18n_patterns`` each language in use is a route of its own:
``/de/shop/``. A request that no pattern matches has none. WSGI and ASGI, sync and async views, Django 3.2
and newer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction
from django.utils.decorators import sync_and_async_middleware

from floodmark.agent.routes import ROUTE

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest


def _note(request: HttpRequest) -> None:
    route = getattr(getattr(request, "resolver_match", None), "route", None)
    if route is not None:
        # Under ASGI, META is Django's own: the server only sees its scope.
        seen = getattr(request, "scope", request.META)
        seen[ROUTE] = f"/{route}"


@sync_and_async_middleware  # type: ignore[untyped-decorator]  # Django publishes no types
def routes(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Make the middleware that tells the agent the route of each request, in the mode of the one below it."""
    if iscoroutinefunction(get_response):

        async def answer_async(request: HttpRequest) -> Any:
            try:
                return await get_response(request)
            finally:
                _note(request)

        return answer_async

    def answer(request: HttpRequest) -> Any:
        try:
            return get_response(request)
        finally:
            _note(request)

    return answer
