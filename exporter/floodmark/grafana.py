"""Grafana's HTTP API, as far as pushing dashboards needs it.

After https://grafana.com/docs/grafana/latest/developers/http_api/ and Grafana's own pkg/api: the paths under
/api that Grafana 10 to 13 share. GET /api/dashboards/uid/floodmark-host answers:

    {"dashboard": {"id": 7, "uid": "floodmark-host", "version": 3, "title": "...", "panels": [...], ...},
     "meta": {"folderUid": "floodmark", "folderTitle": "floodmark", "provisioned": false, ...}}
"""

from __future__ import annotations

import http.client
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit

from floodmark import __version__, refusal, unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

Json = dict[str, Any]

_MOST_BYTES = 16 << 20  # of an answer: a dashboard is a hundredth of that
_PAGE = 1000  # folders: Grafana's own limit
_MOST_PAGES = 100
_TRUST = (
    "If a CA of your own signed it, name its file: REQUESTS_CA_BUNDLE=/path/to/ca.pem before the command, or"
    " /etc/ssl/certs/ca-certificates.crt where the system trusts it already"
)


class FailedError(Exception):
    """Grafana refused, or can't be reached; the text says why and what to do."""


class _Call(NamedTuple):
    """One question.

    Attributes:
        method: GET or POST.
        path: below Grafana's address.
        doing: what it is for, for people.
        needs: the permission it takes; without any the token isn't sent.
        body: what is posted.
        none: the status that means: there is none.
    """

    method: str
    path: str
    doing: str
    needs: str = ""
    body: Json | None = None
    none: HTTPStatus | None = None


class Grafana:
    """A Grafana.

    Args:
        url: its address, with the path it is served under and without a slash at the end.
        token: a service account's; a secret: no error shows it.
        timeout: seconds to wait for a connection, and for an answer.

    Every method raises FailedError.
    """

    def __init__(self, url: str, token: str, timeout: float) -> None:
        import requests  # noqa: PLC0415  # cli imports every command: serve shall not carry this

        self.url = url
        self._token = token
        self._timeout = timeout
        self._host = urlsplit(url).hostname or url
        self._session = requests.Session()
        self._session.headers.update({"User-Agent": f"floodmark/{__version__}", "Accept": "application/json"})

    def version(self) -> str:
        """Return its version, empty where it keeps that to itself. The token isn't sent: is it a Grafana?"""
        health = self._object(_Call("GET", "/api/health", "ask how it is")) or {}
        if "database" not in health:
            raise FailedError(f"what answers at {self.url} is no Grafana. Is the address right?")
        return self._clean(str(health.get("version") or ""))

    def datasources(self) -> list[Json] | None:
        """Return its data sources, None where the token may not see them (an Editor's may not)."""
        return self._list(
            _Call(
                "GET",
                "/api/datasources",
                "see the data sources",
                "datasources:read",
                none=HTTPStatus.FORBIDDEN,
            )
        )

    def folders(self) -> Iterator[Json]:
        """Yield the folders that lie in no other."""
        for page in range(1, _MOST_PAGES + 1):
            path = f"/api/folders?limit={_PAGE}&page={page}"
            found = self._list(_Call("GET", path, "see the folders", "folders:read")) or []
            yield from found
            if len(found) < _PAGE:
                return

    def folder(self, uid: str) -> Json | None:
        """Return a folder, wherever it lies; None where there is none."""
        path = f"/api/folders/{quote(uid)}"
        return self._object(_Call("GET", path, "see the folder", "folders:read", none=HTTPStatus.NOT_FOUND))

    def create_folder(self, title: str, uid: str | None) -> str:
        """Make a folder that lies in no other, and return its uid; without one Grafana thinks of one."""
        body = {"title": title} | ({"uid": uid} if uid else {})
        made = self._object(_Call("POST", "/api/folders", "make the folder", "folders:create", body)) or {}
        if not made.get("uid"):
            raise FailedError(f"{self._host} made the folder, but says no uid of it. Is that a Grafana?")
        return str(made["uid"])

    def dashboard(self, uid: str) -> tuple[Json, Json] | None:
        """Return a dashboard and what Grafana says about it; None where there is none."""
        path = f"/api/dashboards/uid/{quote(uid)}"
        call = _Call("GET", path, "see the dashboard", "dashboards:read", none=HTTPStatus.NOT_FOUND)
        found = self._object(call)
        if found is None:
            return None
        dashboard, meta = found.get("dashboard"), found.get("meta")
        if not isinstance(dashboard, dict) or not isinstance(meta, dict):
            raise FailedError(
                f"{self._host} answered {path} with JSON that is no dashboard. Is that a Grafana?"
            )
        return dashboard, meta

    def save(self, dashboard: Json, folder: str, *, overwrite: bool) -> None:
        """Save a dashboard into a folder; overwrite the one of its uid, or fail where there is one."""
        body = {
            "dashboard": dashboard,
            "folderUid": folder,
            "overwrite": overwrite,
            "message": f"floodmark {__version__}",
        }
        needs = "dashboards:write" if overwrite else "dashboards:create"
        self._object(_Call("POST", "/api/dashboards/db", "save the dashboard", needs, body))

    def _object(self, call: _Call) -> Json | None:
        document = self._call(call)
        if document is not None and not isinstance(document, dict):
            raise FailedError(f"{self._host} answered {call.path} with JSON it shouldn't. Is that a Grafana?")
        return document

    def _list(self, call: _Call) -> list[Json] | None:
        document = self._call(call)
        if document is None:
            return None
        if not isinstance(document, list) or not all(isinstance(each, dict) for each in document):
            raise FailedError(f"{self._host} answered {call.path} with JSON it shouldn't. Is that a Grafana?")
        return document

    def _call(self, call: _Call) -> object:
        answer, text = self._ask(call)
        status = answer.status_code
        try:
            document: object = json.loads(text)
        except (ValueError, RecursionError):
            document = None
        if status == HTTPStatus.OK and document is not None:
            return document
        if status == call.none and isinstance(document, dict):
            return None
        refused = refusal.Refusal(
            call.doing,
            call.needs,
            self.url,
            call.path,
            status,
            document,
            answer.headers.get("Content-Type", ""),
            answer.headers.get("Location", ""),
        )
        raise FailedError(self._clean(refusal.meaning(refused)))

    def _ask(self, call: _Call) -> tuple[requests.Response, bytes]:
        import requests  # noqa: PLC0415  # as above

        def authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
            if call.needs:
                request.headers["Authorization"] = f"Bearer {self._token}"
            return request

        try:
            # By `auth`, as else ~/.netrc would put its password in the token's place. No redirect is
            # followed: a POST would become a GET on the way.
            with self._session.request(
                call.method,
                self.url + call.path,
                json=call.body,
                auth=authorize,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            ) as answer:
                return answer, _body(answer)
        except (requests.RequestException, OSError, http.client.HTTPException) as error:
            way = unreachable.Way(self._host, self._proxy(), self._timeout, _TRUST)
            raise FailedError(self._clean(unreachable.why(_reason(error), way))) from None

    def _proxy(self) -> str | None:
        """Return host and port of the proxy that the environment asks for, None for none."""
        from requests.utils import get_environ_proxies, select_proxy  # noqa: PLC0415  # as above

        given = select_proxy(self.url, get_environ_proxies(self.url))
        return given.rpartition("@")[2].rpartition("//")[2].rstrip("/") if given else None

    def _clean(self, text: str) -> str:
        """Return a text, part of which is somebody else's, without the token and what a terminal obeys."""
        text = text.replace(self._token, "****")
        return "".join(each if each.isprintable() else " " for each in text)


def _body(answer: requests.Response) -> bytes:
    """Return what was answered, unless it has no end."""
    text = b""
    for piece in answer.iter_content(1 << 16):
        text += piece
        if len(text) > _MOST_BYTES:
            raise OSError(None, f"an answer of more than {_MOST_BYTES >> 20} MiB")
    return text


def _reason(error: BaseException) -> BaseException:
    """Return what went wrong for the system, which requests and urllib3 wrap in errors of their own."""
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop(0)
        known = isinstance(each, (OSError, http.client.HTTPException))
        if known and type(each).__module__ in {"builtins", "ssl", "socket", "http.client"}:
            return each
        seen.add(id(each))
        inner = (each.__cause__, each.__context__, *each.args)
        waiting += [one for one in inner if isinstance(one, BaseException) and id(one) not in seen]
    return error
