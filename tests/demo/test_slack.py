from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import TYPE_CHECKING

import pytest
import requests

from deploy.demo import slack, slack_page

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def _served() -> Iterator[tuple[str, list[slack.Message]]]:
    heard: list[slack.Message] = []
    page = slack.Page(("127.0.0.1", 0), heard.append)
    threading.Thread(target=page.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{page.server_address[1]}", heard
    finally:
        page.shutdown()
        page.server_close()


@pytest.fixture
def served() -> Iterator[tuple[str, list[slack.Message]]]:
    with _served() as address_and_heard:
        yield address_and_heard


def _post(url: str, body: bytes) -> tuple[int, str]:
    answer = requests.post(url, body, proxies={"no_proxy": "*"}, timeout=10)
    return answer.status_code, answer.text


def _get(url: str) -> requests.Response:
    return requests.get(url, proxies={"no_proxy": "*"}, timeout=10)


def _shown(**payload: object) -> str:
    return slack_page.render([slack.Message(1, 0.0, {"attachments": []} | payload)])


def test_a_good_payload_is_ok_and_shows_on_the_page_and_as_json(
    served: tuple[str, list[slack.Message]],
) -> None:
    address, heard = served
    payload = {"username": "floodmark", "attachments": [{"color": "danger", "title": "[FIRING:1] x :fire:"}]}
    assert _post(address + slack.WEBHOOK, json.dumps(payload).encode()) == (200, "ok")
    assert [message.notice() for message in heard] == ["[FIRING:1] x 🔥"]
    assert [message["payload"] for message in _get(f"{address}/messages").json()] == [payload]
    assert "[FIRING:1] x 🔥" in _get(address).text


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"{", "invalid_payload"),
        (b"[]", "invalid_payload"),
        (b"\xff", "invalid_payload"),
        (b"[" * 100_000, "invalid_payload"),
        (b'{"text": ""}', "no_text"),
        (b'{"attachments": "x"}', "invalid_attachments"),
        (b'{"attachments": [1]}', "invalid_attachments"),
        (b'{"text": "' + b"x" * (1 << 20) + b'"}', "invalid_payload"),
    ],
    ids=["cut", "list", "not utf-8", "deep", "empty", "attachments", "attachment", "too large"],
)
def test_what_slack_refuses_is_refused_with_slacks_word(
    body: bytes, word: str, served: tuple[str, list[slack.Message]]
) -> None:
    address, heard = served
    assert _post(address + slack.WEBHOOK, body) == (400, word)
    assert not heard


def test_a_form_with_a_payload_field_is_taken_as_slack_takes_it() -> None:
    form = b"payload=%7B%22text%22%3A%22hello%22%7D"
    assert slack.parse(form, "application/x-www-form-urlencoded")["text"] == "hello"


@pytest.mark.parametrize(
    ("markup", "shown"),
    [
        ("*bold* _it_ ~old~", "<b>bold</b> <i>it</i> <s>old</s>"),
        ("2*3*4 a_b_c", "2*3*4 a_b_c"),
        ("`a *b* <c>`", "<code>a *b* &lt;c&gt;</code>"),
        ("```\nx\n```", "<pre>x\n</pre>"),
        ("one\ntwo", "one<br>two"),
        (":fire: :no_such_one:", "🔥 :no_such_one:"),
        ("a &amp; b & c", "a &amp; b &amp; c"),
        ("&lt;b&gt;", "&lt;b&gt;"),
        ("> quoted\nnot", "<blockquote>quoted</blockquote>not"),
        ("<!channel>", '<span class="mention">@channel</span>'),
    ],
)
def test_mrkdwn_becomes_what_slack_shows(markup: str, shown: str) -> None:
    assert slack_page.mrkdwn(markup) == shown


def test_a_link_shows_its_text_and_may_be_bold() -> None:
    shown = slack_page.mrkdwn("*<https://x.y/?a=1&b=2|the *runbook*>*")
    assert 'href="https://x.y/?a=1&amp;b=2"' in shown
    assert ">the *runbook*</a>" in shown


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "<javascript:alert(1)|click>",
        '<https://x.y/" onmouseover="alert(1)|click>',
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "`<script>`",
        "```<script>```",
        "<https://x.y|<script>>",
        "\0" + "0\0<script>",
    ],
)
def test_no_text_of_an_alert_becomes_markup_of_the_page(hostile: str) -> None:
    everywhere = {
        "text": hostile,
        "username": hostile,
        "icon_emoji": hostile,
        "attachments": [
            {
                **dict.fromkeys(("title", "title_link", "text", "pretext", "color", "footer"), hostile),
                "fields": [{"title": hostile, "value": hostile}],
                "actions": [{"text": hostile, "url": hostile, "style": hostile}],
                "mrkdwn_in": ["text", "pretext", "fields"],
            }
        ],
    }
    shown = _shown(**everywhere).partition('id="messages"')[2].partition("</main>")[0]
    assert "<script" not in shown
    assert 'href="javascript:' not in shown
    assert ' onmouseover="' not in shown


def test_fields_are_formatted_only_where_mrkdwn_in_names_them() -> None:
    fields = [{"title": "Cause", "value": "`timeout`", "short": True}]
    assert "<code>timeout</code>" in _shown(attachments=[{"fields": fields, "mrkdwn_in": ["fields"]}])
    assert "`timeout`" in _shown(attachments=[{"fields": fields}])


def test_a_date_shows_in_this_machines_time_zone_with_the_senders_words_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "Etc/GMT-2")
    time.tzset()
    try:
        shown = slack_page.mrkdwn("<!date^1392734382^{date_short_pretty} at {time_secs}|Feb 18, 14:39 UTC>")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert shown == '<span title="Feb 18, 14:39 UTC">Feb 18, 2014 at 16:39:42</span>'
    assert (
        slack_page.mrkdwn(f"<!date^{time.time():.0f}^{{date_pretty}}|now>")
        == '<span title="now">today</span>'
    )
    assert slack_page.mrkdwn("<!date^x^{date}|then>") == "then"


def test_a_button_that_leads_nowhere_is_left_out() -> None:
    actions = [{"text": "Dashboard"}, {"text": "Runbook", "url": "https://x.y"}]
    shown = _shown(attachments=[{"title": "x", "actions": actions}])
    assert "Dashboard" not in shown
    assert ">Runbook</a>" in shown


def test_a_text_that_slack_folds_is_folded() -> None:
    long = "\n".join("abcdef")
    assert "Show more" in _shown(attachments=[{"text": long}])
    assert "Show more" not in _shown(attachments=[{"text": "abcdef"}])


def test_colours_are_slacks_three_names_or_hex_and_nothing_else() -> None:
    for given, shown in (("danger", "#a30200"), ("#1A2b3C", "#1A2b3C"), ("red;x:url(//e)", "#dddddd")):
        assert f"background:{shown}" in _shown(attachments=[{"color": given, "title": "x"}])
