"""How long the proxy waits, from its configuration."""

import math
from pathlib import Path

import pytest

from floodmark.sources import proxyconf

NGINX = "server {{ location / {{ proxy_pass http://unix:/run/shop.sock; {} }} }}\n"


def host(tmp_path: Path, name: str, text: str) -> dict[str, float]:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return {timeout.name: timeout.seconds for timeout in proxyconf.read(tmp_path)}


@pytest.mark.parametrize(
    ("directive", "seconds"),
    [
        ("", 60),
        ("proxy_read_timeout 20;", 20),
        ("proxy_read_timeout 20s;", 20),
        ("proxy_read_timeout 500ms;", 0.5),
        ("proxy_read_timeout 90s;", 60),  # another location may have the default
        ("# proxy_read_timeout 5s;", 60),
        ("proxy_read_timeout $variable;", 60),
    ],
)
def test_nginx_waits_as_long_as_its_shortest_setting_or_its_default(
    tmp_path: Path, directive: str, seconds: float
) -> None:
    found = host(tmp_path, "etc/nginx/sites-enabled/shop", NGINX.format(directive))
    assert found == {"nginx's proxy_read_timeout": seconds}


@pytest.mark.parametrize(
    ("directive", "seconds"),
    [("", math.inf), ("transport http {\n response_header_timeout 1m30s\n }", 90)],
)
def test_caddy_waits_without_limit_unless_told(tmp_path: Path, directive: str, seconds: float) -> None:
    text = f"shop.example {{\n reverse_proxy localhost:8000 {{\n {directive}\n }}\n}}\n"
    assert host(tmp_path, "etc/caddy/Caddyfile", text) == {"Caddy's response_header_timeout": seconds}


def test_a_web_server_that_is_no_proxy_and_one_that_is_not_there_say_nothing(tmp_path: Path) -> None:
    assert proxyconf.read(tmp_path) == []
    assert host(tmp_path, "etc/nginx/nginx.conf", "server { root /srv; }") == {}


def test_a_dangling_link_is_skipped(tmp_path: Path) -> None:
    folder = tmp_path / "etc/nginx/sites-enabled"
    folder.mkdir(parents=True)
    (folder / "gone").symlink_to("/nowhere")
    (folder / "shop").write_text(NGINX.format(""))
    assert [timeout.seconds for timeout in proxyconf.read(tmp_path)] == [60]
