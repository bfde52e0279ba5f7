"""Slack, as this host reaches it.

floodmark slack test    does the webhook work? Sends one example message and says what Slack answered
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import shlex
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import SplitResult, urlsplit

from floodmark import __version__, config, secretfile, unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from email.message import Message

_TEST = """\
Send one example message to the Slack webhook, and say what Slack answered and what to do about it.

The message is what Alertmanager sends for a worker killed for memory, marked as an example. The webhook's
address is taken from the first of these that is set:

  --webhook-file FILE     a file that holds it; - is standard input
  SLACK_WEBHOOK_FILE      the same: what docker compose hands to Alertmanager
  SLACK_WEBHOOK_URL       the address itself: what `make demo` takes

It is a secret, and is never shown. Its file may end in a newline. Exit status 0: Slack took the message;
1: it refused it, or can't be reached from here; 2: wrong usage, or no address.
"""
_TIMEOUT = 10.0  # seconds for Slack to answer
_MOST_BYTES = 1000  # of an answer: Slack's are a word
_SECRET = 4  # characters: less is no secret
_SLACK = ("hooks.slack.com", "hooks.slack-gov.com")
_NEW = "api.slack.com/apps, your app, Incoming Webhooks, Add New Webhook"
_LIKE = "https://hooks.slack.com/services/T.../B.../..."
_TRUST = "If your company's proxy opens TLS, add its certificate: sudo update-ca-certificates"

# Slack's words as https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks explains them:
# what each means, and what to do.
ANSWERS = {
    "invalid_token": ("the last part of the address is wrong", f"copy the whole address once more: {_NEW}"),
    "no_service": (
        "there is no such webhook: it was removed or switched off, or the address is cut off",
        f"copy the whole address once more, or make a new one: {_NEW}",
    ),
    "no_service_id": ("the middle part of the address (B...) is wrong", f"copy it once more: {_NEW}"),
    "no_active_hooks": ("the webhook is switched off", f"switch it on, or make a new one: {_NEW}"),
    "no_team": ("there is no such workspace: the first part (T...) is wrong", f"copy it once more: {_NEW}"),
    "team_disabled": ("the workspace is no longer active", "use a webhook of another workspace"),
    "channel_not_found": (
        "the webhook's channel is gone, or the webhook may not see it",
        f"make a webhook for another channel: {_NEW}",
    ),
    "user_not_found": (
        "the person the webhook writes to is gone",
        f"make a webhook for a channel: {_NEW}",
    ),
    "channel_is_archived": (
        "the webhook's channel is archived",
        f"unarchive it, or make a webhook for another channel: {_NEW}",
    ),
    "action_prohibited": (
        "an admin of the workspace has restricted this way of posting",
        "ask an admin to allow it, or take another channel",
    ),
    "posting_to_general_channel_denied": (
        "only some may post to #general, and whoever made the webhook is not among them",
        f"make a webhook for another channel: {_NEW}",
    ),
    "rate_limited": ("too many messages: Slack takes about one a second", "wait, then try again"),
    "rollup_error": ("something failed within Slack", "try again; slack-status.com says whether it is down"),
    **dict.fromkeys(
        ("invalid_payload", "no_text", "invalid_attachments", "too_many_attachments", "invalid_blocks",
         "invalid_blocks_format", "msg_too_long"),
        ("the address is right, but Slack doesn't take floodmark's message", "please report this as a bug"),
    ),
}  # fmt: skip


class FailedError(Exception):
    """The message didn't get through; the text says why and what to do."""


class Webhook(NamedTuple):
    """A webhook's address.

    Attributes:
        url: all of it: a secret.
        source: where it is from: "SLACK_WEBHOOK_FILE secrets/slack_webhook".
        path: its file, None where it is in none.
    """

    url: str
    source: str
    path: str | None

    @property
    def parts(self) -> SplitResult:
        """The address taken apart."""
        return urlsplit(self.url)

    @property
    def host(self) -> str:
        """Whom the message goes to."""
        return self.parts.hostname or ""

    @property
    def local(self) -> bool:
        """Whether that is this machine, as the demo's page is."""
        return self.host in {"localhost", "::1"} or bool(re.fullmatch(r"127\.[0-9.]+", self.host))

    def masked(self) -> str:
        """The address without what is secret in it."""
        port = f":{self.parts.port}" if self.parts.port else ""
        return f"{self.parts.scheme}://{self.host}{port}/****"

    def without(self, text: str) -> str:
        """Return a text, part of which is somebody else's, without what is secret in the address."""
        rest = f"{self.parts.path}?{self.parts.query}"
        # No piece of it that stands in our own words anyway ("hooks", "services"), or that is hardly one.
        pieces = {
            each
            for each in (*re.split("[/?&=]", rest), self.parts.password or "")
            if len(each) >= _SECRET and each not in _LIKE
        }
        for secret in (self.url, rest, self.parts.path, *sorted(pieces, key=len, reverse=True)):
            text = text.replace(secret, "****") if len(secret) >= _SECRET else text
        return text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the one thing to do, with its flags."""
    test = parser.add_subparsers(metavar="COMMAND", required=True).add_parser(
        "test",
        help="does the webhook work?",
        description=_TEST,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    test.add_argument(
        "--webhook-file", metavar="FILE", help="file that holds the webhook's address, - for standard input"
    )
    test.add_argument("--lang", metavar="LANG", help=config.FIELDS["lang"].metadata["doc"] + " (default: en)")


def run(arguments: argparse.Namespace) -> int:
    """Send the example."""
    lang = config.language(arguments.lang, os.environ)
    webhook = find(arguments.webhook_file, os.environ)
    proxy = _proxy(webhook)
    where = f"{webhook.masked()}, from {webhook.source}"
    try:
        _send(webhook, example(lang, time.time()), proxy)
    except FailedError as error:
        sys.stderr.write(f"floodmark slack test: {error}\nWebhook: {where}\n")
        status = 1
    else:
        sys.stdout.write(f"ok: Slack took the example; look into the webhook's channel.\nWebhook: {where}\n")
        status = 0
    out = sys.stderr if status else sys.stdout
    out.writelines(f"Note: {note}\n" for note in _notes(webhook, proxy))
    return status


def find(given: str | None, environ: Mapping[str, str]) -> Webhook:
    """Return the webhook.

    Args:
        given: --webhook-file.
        environ: the environment.

    Raises:
        ConfigError: there is none, or it can't be right; the text shows nothing of an address.
    """
    for name, path in (("--webhook-file", given), ("SLACK_WEBHOOK_FILE", environ.get("SLACK_WEBHOOK_FILE"))):
        if path or (path is not None and name == "--webhook-file"):
            return _webhook(_read(path, name), f"{name} {path}", path)
    if text := environ.get("SLACK_WEBHOOK_URL"):
        return _webhook(text, "SLACK_WEBHOOK_URL", None)
    raise config.ConfigError(
        "no webhook: give --webhook-file FILE, or set SLACK_WEBHOOK_FILE (a file that holds the address) or"
        f" SLACK_WEBHOOK_URL (the address). Slack makes one at {_NEW}"
    )


def _read(path: str, name: str) -> str:
    if re.match("https?:", path):
        raise config.ConfigError(f"{name} wants a file that holds the address, not the address itself")
    return secretfile.read(path, name, _LIKE)


def _webhook(text: str, source: str, path: str | None) -> Webhook:
    """Check what an address is as far as can be seen from here.

    Raises:
        ConfigError: it is none.
    """
    text = text.strip()  # as Alertmanager does
    if not text:
        raise config.ConfigError(f"{source}: empty: it must hold {_LIKE}")
    if text[0] in "\"'" or len(text.split()) > 1 or not (text.isascii() and text.isprintable()):
        raise config.ConfigError(f"{source}: must hold {_LIKE} alone: no quotes, no blanks, one line")
    try:
        parts = urlsplit(text)
        host = parts.hostname
        parts.port  # noqa: B018  # reading it is the check
    except ValueError:
        host = None
    if not host or parts.scheme not in {"https", "http"}:
        raise config.ConfigError(f"{source}: no address of a webhook: it must be like {_LIKE}")
    webhook = Webhook(text, source, path)
    if host in _SLACK:
        if parts.scheme != "https":
            raise config.ConfigError(f"{source}: must begin with https://, or others can read the secret")
        if parts.path.startswith(("/workflows/", "/triggers/")):
            raise config.ConfigError(
                f"{source}: a workflow's address, which takes no messages. Make an incoming webhook: {_NEW}"
            )
        if not re.fullmatch(r"/services/T\w+/B\w+/\w+", parts.path):
            raise config.ConfigError(f"{source}: cut off, or not yours yet: it must be like {_LIKE}")
    return webhook


def _notes(webhook: Webhook, proxy: str | None) -> Iterator[str]:
    """Yield what holds here and may not for Alertmanager."""
    if webhook.path is not None and _closed(webhook.path):
        yield (
            f"only some may read {webhook.path}. In docker compose Alertmanager runs as nobody: chmod 644"
            f" {shlex.quote(webhook.path)}"
        )
    if proxy:
        yield (
            f"this went through the proxy {proxy}, from the environment. Alertmanager uses it only with"
            " `http_config: {proxy_from_environment: true}` under `global` (0.26 or newer; before:"
            " `proxy_url: http://...`)"
        )
    if webhook.host not in _SLACK and not webhook.local:
        yield f"{webhook.host} is not Slack. What calls itself compatible often leaves out colours or buttons"
        if webhook.parts.scheme == "http":
            yield "http:// lets others read the secret"


def _closed(path: str) -> bool:
    try:
        mode = Path(path).stat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and not mode & stat.S_IROTH


def example(lang: str, now: float) -> bytes:
    """Return the payload as the real templates made it (tests/alerts/test_slack.py), of this moment.

    Args:
        lang: en or ko.
        now: Unix time.
    """
    text = Path(__file__).with_name(f"slack_{lang}.json").read_text(encoding="utf-8")
    shown = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(int(now)))
    text = re.sub(r"<!date\^\d+\^([^|>]*)\|[^>]*>", rf"<!date^{int(now)}^\1|{shown}>", text)
    return json.dumps(json.loads(text)).encode()


def _proxy(webhook: Webhook) -> str | None:
    """Return host and port of the proxy the environment asks for, None for none."""
    import urllib.request  # noqa: PLC0415  # cli imports every command: serve shall not carry this

    given = urllib.request.getproxies().get(webhook.parts.scheme)
    if not given or webhook.local or urllib.request.proxy_bypass(webhook.host):
        return None
    return given.rpartition("@")[2].rpartition("//")[2].rstrip("/")


def _send(webhook: Webhook, payload: bytes, proxy: str | None) -> None:
    """Post it.

    Raises:
        FailedError: it isn't in the channel now.
    """
    import urllib.request  # noqa: PLC0415  # as above

    request = urllib.request.Request(  # noqa: S310  # checked: http or https
        webhook.url,
        payload,
        {"Content-Type": "application/json", "User-Agent": f"floodmark/{__version__}"},
    )
    # Neither follows redirects nor makes an error of a status: what comes is told as it is.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(None if proxy else {}),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
    ):
        opener.add_handler(handler)
    try:
        with opener.open(request, timeout=_TIMEOUT) as answer:
            body = _body(answer)
            status, headers = answer.status, answer.headers
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = unreachable.why(
            getattr(error, "reason", error), unreachable.Way(webhook.host, proxy, _TIMEOUT, _TRUST)
        )
        raise FailedError(webhook.without(why)) from error
    told = "".join(each if each.isprintable() else " " for each in body.decode(errors="replace"))
    word = _word(told.strip(), headers.get("Content-Type") or "")
    if (status, word) != (http.HTTPStatus.OK, "ok"):
        raise FailedError(webhook.without(_refused(status, word, headers, webhook)))


def _body(answer: http.client.HTTPResponse) -> bytes:
    """Return what was answered, of something endless or slow only the beginning."""
    body = b""
    deadline = time.monotonic() + _TIMEOUT
    while len(body) < _MOST_BYTES and time.monotonic() < deadline and (piece := answer.read1(_MOST_BYTES)):
        body += piece
    return body


def _word(text: str, kind: str) -> str:
    """Return Slack's word: all of the answer, or what stands in its JSON."""
    if kind.startswith("application/json"):
        try:
            document = json.loads(text)
            return "ok" if document.get("ok") is True else str(document.get("error") or text)
        except (ValueError, AttributeError):
            pass
    return text


def _refused(status: int, word: str, headers: Message, webhook: Webhook) -> str:
    who = "Slack" if webhook.host in _SLACK else webhook.host
    if word in ANSWERS:
        means, what_to_do = ANSWERS[word]
        return f"{who} answered {status} {word}: {means}. What to do: {what_to_do}"
    if status == http.HTTPStatus.TOO_MANY_REQUESTS:
        wait = headers.get("Retry-After") or ""
        after = f" in {wait} s" if wait.isdecimal() else " later"
        return f"{who} answered 429: too many messages. The webhook is right; try again{after}"
    if status in range(300, 400):
        there = urlsplit(headers.get("Location") or "").hostname or "nowhere"
        return (
            f"{who} answered {status}, a redirect to {there}, where the message was not sent: no webhook does"
            " that. A proxy or a login page stands in between, or the address is of something else"
        )
    if status in range(500, 600):
        return f"{who} answered {status}: it is in trouble itself. Try again; slack-status.com says more"
    if status == http.HTTPStatus.OK:
        return (
            f"{who} answered 200, but {word[:80]!r} in place of 'ok', which Alertmanager takes for a failure."
            " Is the address that of an incoming webhook?"
        )
    return f"{who} answered {status} {word[:80]!r}. Is that an incoming webhook? A new one: {_NEW}"
