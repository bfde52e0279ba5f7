"""What an answer means that Grafana didn't mean well, or that isn't Grafana's, and what to do.

A refusal of Grafana's is a status with JSON (pkg/api/apierrors, pkg/services/dashboards/errors.go):

    412 {"message": "The dashboard has been changed by someone else", "status": "version-mismatch"}
    403 {"title": "Access denied", "message": "You'll need additional permissions to perform this action.
         Permissions needed: folders:create", "accessErrorId": "ACE..."}
"""

from __future__ import annotations

from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlsplit

ACCOUNT = "Administration, Users and access, Service accounts"
PROVISIONED = (
    "Grafana reads it from a file (provisioning) and lets nobody else change it. Change it there: `floodmark"
    " dashboards export DIR`, DIR the folder of its provider. Or take that provider away, and push"
)

_MOST = 200  # characters of somebody else's words


class Refusal(NamedTuple):
    """An answer other than the wanted one.

    Attributes:
        doing: what was asked for: "save the dashboard".
        needs: the permission that takes; empty where no token was sent.
        url: Grafana's address as it was given.
        path: what was asked for, below it.
        status: of the answer.
        document: its body where that is JSON, else None.
        kind: its Content-Type.
        location: where it leads to, of a redirect.
    """

    doing: str
    needs: str
    url: str
    path: str
    status: int
    document: object
    kind: str
    location: str

    @property
    def host(self) -> str:
        """Who was asked."""
        return urlsplit(self.url).netloc

    def field(self, name: str) -> str:
        """A field of the answer."""
        return str(self.document.get(name) or "") if isinstance(self.document, dict) else ""

    @property
    def quoted(self) -> str:
        """Grafana's own words, as the end of a sentence."""
        words = self.field("message")
        return f". It said: {words[:_MOST]}" if words else ""


def meaning(refused: Refusal) -> str:
    """Return what it means and what to do."""
    status = refused.status
    if status in range(300, 400):
        return _redirect(refused)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return f"{refused.host} answered 429: too many requests. Wait, then type the same again"
    if status in range(500, 600):
        return (
            f"{refused.host} answered {status}: Grafana, or the proxy in front of it, is in trouble itself."
            f" Its log says more{refused.quoted}"
        )
    if not isinstance(refused.document, dict) or not refused.needs:
        return _not_grafana(refused)
    return _grafanas(refused)


def _redirect(refused: Refusal) -> str:
    there = urlsplit(refused.location)
    place = f"{there.scheme}://{there.netloc.rpartition('@')[2]}" if there.scheme else ""
    wanted = refused.path.partition("?")[0]
    if place and there.path.endswith(wanted):
        return (
            f"{refused.host} sends this on to {place}{there.path.removesuffix(wanted)}: give that as the"
            " address. For the token's sake it isn't followed"
        )
    return (
        f"{refused.host} answered {refused.status}, a redirect to {place}{there.path or 'nowhere'}: a login"
        " page stands in front of it, or it is no Grafana. Take an address that leads to Grafana itself"
    )


def _not_grafana(refused: Refusal) -> str:
    if refused.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return (
            f"{refused.host} answered {refused.status}, and not as Grafana does: something in front of it"
            " wants a login of its own. Take an address that leads to Grafana itself"
        )
    kind = refused.kind.partition(";")[0].strip()
    what = {"text/html": "a web page", "application/json": "other JSON", "": "nothing"}.get(kind, kind[:40])
    return (
        f"{refused.host} answered {refused.status} with {what} in place of Grafana's JSON. Is {refused.url}"
        " where you see Grafana, with the path it is served under (https://host/grafana), and no login page"
        " before it?"
    )


def _grafanas(refused: Refusal) -> str:
    words = refused.field("message")
    match refused.status:
        case HTTPStatus.UNAUTHORIZED:
            said = (
                f"Grafana doesn't take this token ({words[:_MOST] or '401'}): it is wrong, expired, or"
                f" another Grafana's. Make a new one: {ACCOUNT}, Add service account with the role Editor,"
                " Add token"
            )
        case HTTPStatus.FORBIDDEN if "quota" in words.lower():
            said = f"Grafana takes no more of these: {words[:_MOST]}"
        case HTTPStatus.FORBIDDEN:
            said = (
                f"this token may not {refused.doing}: that takes the permission {refused.needs}, which the"
                f" role Editor has and Viewer hasn't. Change the role under {ACCOUNT}{refused.quoted}"
            )
        case HTTPStatus.BAD_REQUEST if "provisioned" in words:
            said = PROVISIONED
        case HTTPStatus.CONFLICT | HTTPStatus.PRECONDITION_FAILED:
            said = _conflict(refused)
        case _:
            said = f"could not {refused.doing}: {refused.host} answered {refused.status}{refused.quoted}"
    return said


def _conflict(refused: Refusal) -> str:
    match refused.field("status"):
        case _ if "folder" in refused.doing:
            said = (
                "a folder of that title or uid is there, and this token may not see it. Let its service"
                f" account edit it (the folder's permissions), or take another --folder{refused.quoted}"
            )
        case "name-exists":
            said = (
                "another dashboard of that title is in the folder, and it isn't floodmark's: it is left"
                " alone. Rename it, or take another --folder"
            )
        case "version-mismatch":
            said = "somebody saved it at the same moment. Type the same again"
        case "plugin-dashboard":
            said = f"it belongs to a plugin, which alone may change it{refused.quoted}"
        case _:
            said = f"could not {refused.doing}: it conflicts with what is there{refused.quoted}"
    return said
