"""How long the proxy in front waits for an answer: nginx's ngx_http_proxy_module, Caddy's reverse_proxy.

    proxy_read_timeout 90s;              # nginx; 60s where it isn't set; ms s m h d, a bare number is seconds
    response_header_timeout 1m30s        # Caddy, in transport http; no limit where it isn't set

Which location belongs to which app can't be told from outside: of several values the smallest is taken.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NGINX = ("etc/nginx/nginx.conf", "etc/nginx/conf.d/*.conf", "etc/nginx/sites-enabled/*")
_CADDY = ("etc/caddy/Caddyfile", "etc/caddy/*.caddy")
_NGINX_DEFAULT = 60.0
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_PIECE = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_COMMENT = re.compile(r"(?m)(?:^|\s)#.*$")


class ProxyTimeout(NamedTuple):
    """The setting as its documentation calls it, and its seconds: infinite for no limit."""

    name: str
    seconds: float


def read(root: Path) -> list[ProxyTimeout]:
    """Return the timeouts of the proxies that are configured on the host, where that may be read."""
    return [*_nginx(_text(root, _NGINX)), *_caddy(_text(root, _CADDY))]


def _nginx(text: str) -> Iterator[ProxyTimeout]:
    if re.search(r"\bproxy_pass\s", text):
        found = re.findall(r"\bproxy_read_timeout\s+([\w.]+)\s*;", text)
        # A location without it has the default.
        yield ProxyTimeout("nginx's proxy_read_timeout", min([_NGINX_DEFAULT, *map(_seconds, found)]))


def _caddy(text: str) -> Iterator[ProxyTimeout]:
    if re.search(r"\breverse_proxy\b", text):
        found = re.findall(r"\bresponse_header_timeout\s+([\w.]+)", text)
        yield ProxyTimeout("Caddy's response_header_timeout", min([math.inf, *map(_seconds, found)]))


def _seconds(duration: str) -> float:
    return sum(float(number) * _UNITS[unit or "s"] for number, unit in _PIECE.findall(duration))


def _text(root: Path, patterns: tuple[str, ...]) -> str:
    texts = []
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            try:
                texts.append(path.read_text(errors="replace"))
            except OSError:  # a dangling link, or not ours to read
                continue
    return _COMMENT.sub("", "\n".join(texts))
