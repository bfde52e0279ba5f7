"""A Grafana of which only the HTTP API is there: real HTTP, the state in memory, the rules of Grafana 10.

After https://grafana.com/docs/grafana/latest/developers/http_api/ and pkg/api, pkg/services/dashboards.
Tokens have roles, roles permissions. Folders and dashboards have uids, and titles unique in their folder. A
save without overwrite needs the present version; one with it takes over what has its title, as in Grafana 10.
What a file provisions can't be saved.
"""

from __future__ import annotations

import copy
import json
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Mapping

Json = dict[str, Any]

_VIEWER = {"folders:read", "dashboards:read", "annotations:read"}
_EDITOR = _VIEWER | {"folders:create", "dashboards:create", "dashboards:write", "annotations:create"}
_ROLES = {"Viewer": _VIEWER, "Editor": _EDITOR, "Admin": _EDITOR | {"datasources:read"}}


class Answer(NamedTuple):
    """An answer given whatever was asked: a proxy's, or a Grafana's in trouble."""

    status: int
    body: str = ""
    kind: str = "application/json"
    headers: Mapping[str, str] = {}


class Asked(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    authorization: str | None


@dataclass
class Saved:
    """A dashboard: its JSON as the last save had it, where it is, and how often it was saved."""

    number: int
    dashboard: Json
    folder: str
    messages: list[str] = field(default_factory=list)
    provisioned: bool = False


class GrafanaApi(ThreadingHTTPServer):
    """The server, on a port of its own.

    Attributes:
        prefix: the path it is served under ("/grafana").
        tokens: the role of each.
        folders: title and uid of the parent (empty for none), by uid.
        saved: dashboards by uid.
        datasources: as GET /api/datasources lists them.
        annotations: as they were posted; one without a time is of now.
        asked: all requests, oldest first.
        instead: what a method and path (below the prefix) gets in place of its answer, once.
    """

    daemon_threads = True

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.tokens = {"glsa_editor": "Editor", "glsa_viewer": "Viewer", "glsa_admin": "Admin"}
        self.folders: dict[str, tuple[str, str]] = {}
        self.saved: dict[str, Saved] = {}
        self.datasources: list[Json] = [{"uid": "PBFA97CFB", "name": "Prometheus", "type": "prometheus"}]
        self.annotations: list[Json] = []
        self.asked: list[Asked] = []
        self.instead: dict[tuple[str, str], deque[Answer]] = {}
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}{self.prefix}"

    def writes(self) -> list[str]:
        """Return the paths that were posted to."""
        return [asked.path for asked in self.asked if asked.method == "POST"]

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  # the base class's
        """Say nothing of a client that has seen enough."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def answer(self, asked: Asked, body: object) -> Answer:
        """Return the answer to a request."""
        self.asked.append(asked)
        split = urlsplit(asked.path)
        if not split.path.startswith(f"{self.prefix}/api/"):
            return Answer(404, "<html>404 page not found</html>", "text/html; charset=UTF-8")
        path = split.path.removeprefix(self.prefix)
        if waiting := self.instead.get((asked.method, path)):
            return waiting.popleft()
        if path == "/api/health":
            return _json(200, {"commit": "0", "database": "ok", "version": "13.1.3"})
        role = self.tokens.get((asked.authorization or "").removeprefix("Bearer "))
        if role is None:
            return _json(401, {"message": "Invalid API key", "messageId": "api-key.invalid"})
        return self._known(asked.method, path, parse_qs(split.query), body, role)

    def _known(self, method: str, path: str, query: dict[str, list[str]], body: Any, role: str) -> Answer:  # noqa: ANN401, PLR0911
        uid = unquote(path.rpartition("/")[2])
        match method, path.removeprefix("/api/").removesuffix(uid):
            case "GET", "" if uid == "datasources":
                return _forbidden(role, "datasources:read") or _json(200, self.datasources)
            case "GET", "" if uid == "folders":
                page, limit = (int(query.get(name, [default])[0]) for name, default in _PAGES)
                roots = [
                    {"uid": uid, "title": title}
                    for uid, (title, parent) in self.folders.items()
                    if not parent
                ]
                return _json(200, roots[(page - 1) * limit : page * limit])
            case "GET", "folders/" if uid in self.folders:
                return _json(
                    200, {"uid": uid, "title": self.folders[uid][0], "parentUid": self.folders[uid][1]}
                )
            case "GET", "folders/":
                return _json(404, {"message": "folder not found", "status": "not-found"})
            case "GET", "dashboards/uid/":
                return self._shown(uid)
            case "POST", "" if uid == "folders":
                return _forbidden(role, "folders:create") or self._make_folder(body)
            case "POST", "dashboards/" if uid == "db":
                needed = "write" if body["dashboard"]["uid"] in self.saved else "create"
                return _forbidden(role, f"dashboards:{needed}") or self._save(body)
            case "POST", "" if uid == "annotations":
                return _forbidden(role, "annotations:create") or self._annotate(body)
        return _json(404, {"message": "Not found"})

    def _shown(self, uid: str) -> Answer:
        if uid not in self.saved:
            return _json(404, {"message": "Dashboard not found"})
        found = self.saved[uid]
        meta = {
            "folderUid": found.folder,
            "folderTitle": self.folders[found.folder][0] if found.folder else "Dashboards",
            "provisioned": found.provisioned,
            "version": len(found.messages),
        }
        own = {"id": found.number, "version": len(found.messages)}
        return _json(200, {"dashboard": found.dashboard | own, "meta": meta})

    def _make_folder(self, body: Json) -> Answer:
        uid, title = body.get("uid") or f"f{len(self.folders)}", body.get("title")
        if not title:
            return _json(400, {"message": "folder title cannot be empty"})
        if uid in self.folders:
            return _json(
                412, {"status": "version-mismatch", "message": "the folder has been changed by someone else"}
            )
        if (title, "") in self.folders.values():
            words = "a folder with the same name already exists in the current location"
            return _json(409, {"message": words})
        self.folders[uid] = (title, "")
        return _json(200, {"id": len(self.folders), "uid": uid, "title": title})

    def _save(self, body: Json) -> Answer:
        dashboard, folder = copy.deepcopy(body["dashboard"]), body.get("folderUid") or ""
        if folder and folder not in self.folders:
            return _json(400, {"message": "folder not found"})
        uid = dashboard["uid"]
        twin = next(
            (
                other
                for other, saved in self.saved.items()
                if other != uid and (saved.folder, saved.dashboard["title"]) == (folder, dashboard["title"])
            ),
            None,
        )
        if twin and not body.get("overwrite"):
            words = "A dashboard with the same name in the folder already exists"
            return _json(412, {"status": "name-exists", "message": words})
        uid = twin or uid
        found = self.saved.setdefault(uid, Saved(len(self.saved) + 1, {}, folder))
        if found.provisioned:
            return _json(400, {"message": "Cannot save provisioned dashboard"})
        if found.messages and not body.get("overwrite") and dashboard.get("version") != len(found.messages):
            words = "The dashboard has been changed by someone else"
            return _json(412, {"status": "version-mismatch", "message": words})
        found.dashboard, found.folder = dashboard | {"uid": uid}, folder
        found.messages.append(body.get("message", ""))
        done = {"status": "success", "id": found.number, "uid": uid, "version": len(found.messages)}
        return _json(200, done | {"url": f"{self.prefix}/d/{uid}/x", "slug": "x", "folderUid": folder})

    def _annotate(self, body: Json) -> Answer:
        if not body.get("text"):
            return _json(
                400, {"message": "Failed to save annotation", "error": "text field should not be empty"}
            )
        self.annotations.append(body)
        return _json(200, {"message": "Annotation added", "id": len(self.annotations)})


_PAGES = (("page", "1"), ("limit", "1000"))


def _json(status: int, document: object) -> Answer:
    return Answer(status, json.dumps(document))


def _forbidden(role: str, permission: str) -> Answer | None:
    if permission in _ROLES[role]:
        return None
    words = f"You'll need additional permissions to perform this action. Permissions needed: {permission}"
    return _json(403, {"title": "Access denied", "message": words, "accessErrorId": "ACE0123456789"})


class _Handler(BaseHTTPRequestHandler):
    server: GrafanaApi
    timeout = 10
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: else the second waits for the first's acknowledgement

    def do_GET(self) -> None:
        self._reply(None)

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get_content_type() != "application/json":
            self._send(_json(400, {"message": "bad request data"}))
        else:
            self._reply(json.loads(text))

    def _reply(self, body: object) -> None:
        with self.server.lock:
            asked = Asked(self.command, self.path, self.headers["Authorization"])
            answer = self.server.answer(asked, body)
        self._send(answer)

    def _send(self, answer: Answer) -> None:
        content = answer.body.encode()
        self.send_response(answer.status)
        if answer.kind:
            self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        pass
