from __future__ import annotations

import json
import re
import threading
import time
from typing import TYPE_CHECKING

import pytest
import requests

from deploy.demo import slack, slack_page

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def page() -> Iterator[slack.Page]:
    page = slack.Page(("127.0.0.1", 0), lambda _: None)
    threading.Thread(target=page.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield page
    finally:
        page.shutdown()
        page.server_close()


def _address(page: slack.Page, path: str = slack.WEBHOOK) -> str:
    return f"http://127.0.0.1:{page.server_address[1]}{path}"


def _post(url: str, body: bytes) -> tuple[int, str]:
    answer = requests.post(url, body, proxies={"no_proxy": "*"}, timeout=10)
    return answer.status_code, answer.text


def _get(url: str) -> requests.Response:
    return requests.get(url, proxies={"no_proxy": "*"}, timeout=10)


def _shown(**payload: object) -> str:
    return slack_page.render([slack.Message(1, 0.0, {"attachments": []} | payload)])


def test_a_good_payload_is_ok_and_shows_on_the_page_and_as_json(page: slack.Page) -> None:
    payload = {"username": "floodmark", "attachments": [{"color": "danger", "title": "[FIRING:1] x :fire:"}]}
    assert _post(_address(page), json.dumps(payload).encode()) == (200, "ok")
    assert [message.notice() for message in page.messages] == ["[FIRING:1] x 🔥"]
    assert [message["payload"] for message in _get(_address(page, "/messages")).json()] == [payload]
    assert "[FIRING:1] x 🔥" in _get(_address(page, "/")).text


def attachment(**parts: object) -> dict[str, object]:
    return {"attachments": [{"text": "x"} | parts]}


def button(**parts: object) -> dict[str, object]:
    return {"type": "button", "text": "Runbook", "url": "https://x.y"} | parts


def blocks(*given: object) -> dict[str, object]:
    return {"blocks": list(given)}


def said(text: str, kind: str = "mrkdwn") -> dict[str, str]:
    return {"type": kind, "text": text}


SECTION = {"type": "section", "text": said("x")}


@pytest.mark.parametrize(
    ("payload", "word"),
    [
        ([], "invalid_payload"),
        ({"text": 1}, "invalid_payload"),
        ({"text": ""}, "no_text"),
        ({}, "no_text"),
        ({"text": "x" * 40_001}, "msg_too_long"),
        ({"attachments": "x"}, "invalid_attachments"),
        ({"attachments": [1]}, "invalid_attachments"),
        ({"attachments": [{"text": "x"}] * 101}, "too_many_attachments"),
        ({"attachments": [{"color": "danger"}]}, "no_text"),
        (attachment(text="x" * 40_001), "msg_too_long"),
        (attachment(title="x" * 1025), "invalid_attachments"),
        (attachment(title=["x"]), "invalid_attachments"),
        (attachment(fields=[{"title": "x", "value": "x" * 2001}]), "invalid_attachments"),
        (attachment(fields=[{"title": "x", "value": 1}]), "invalid_attachments"),
        (attachment(actions=[button()] * 6), "invalid_attachments"),
        (attachment(actions=[button(text="x" * 76)]), "invalid_attachments"),
        (attachment(actions=[button(text="")]), "invalid_attachments"),
        (attachment(actions=[button(type="link")]), "invalid_attachments"),
        (attachment(actions=[button(url="https://x.y/" + "x" * 3000)]), "invalid_attachments"),
        (attachment(actions=[button(url="javascript:alert(1)")]), "invalid_attachments"),
        (attachment(actions=[button(url="")]), "invalid_attachments"),
        (attachment(blocks=[{"type": "header", "text": said("x")}]), "invalid_attachments"),
        ({"blocks": {"type": "divider"}}, "invalid_blocks_format"),
        (blocks("divider"), "invalid_blocks_format"),
        (blocks(*[{"type": "divider"}] * 51), "invalid_blocks"),
        (blocks({"type": "hologram"}), "invalid_blocks"),
        (blocks({"type": "header", "text": said("x", "mrkdwn")}), "invalid_blocks"),
        (blocks({"type": "header", "text": said("x" * 151, "plain_text")}), "invalid_blocks"),
        (blocks({"type": "section", "text": "x"}), "invalid_blocks"),
        (blocks({"type": "section"}), "invalid_blocks"),
        (blocks({"type": "section", "text": said("")}), "invalid_blocks"),
        (blocks({"type": "section", "text": said("x" * 3001)}), "invalid_blocks"),
        (blocks({"type": "section", "fields": [said("x")] * 11}), "invalid_blocks"),
        (blocks({"type": "section", "fields": [said("x" * 2001)]}), "invalid_blocks"),
        (blocks(SECTION | {"accessory": button()}), "invalid_blocks"),
        (blocks(SECTION | {"block_id": "a"}, SECTION | {"block_id": "a"}), "invalid_blocks"),
        (blocks(SECTION | {"block_id": "x" * 256}), "invalid_blocks"),
        (blocks({"type": "context", "elements": []}), "invalid_blocks"),
        (blocks({"type": "context", "elements": [said("x")] * 11}), "invalid_blocks"),
        (blocks({"type": "actions", "elements": [button()]}), "invalid_blocks"),
        (
            blocks({"type": "actions", "elements": [button(text=said("x" * 76, "plain_text"))]}),
            "invalid_blocks",
        ),
        (blocks({"type": "image", "image_url": "https://x.y/z.png"}), "invalid_blocks"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_message_that_slack_refuses_is_refused_with_slacks_word(
    payload: object, word: str, page: slack.Page
) -> None:
    assert _post(_address(page), json.dumps(payload).encode()) == (400, word)
    assert not page.messages
    assert [refused for refused, _ in page.refused] == [word]


@pytest.mark.parametrize(
    "body",
    [b"{", b"\xff", b"[" * 100_000, b'{"text": "' + b"x" * (1 << 20) + b'"}'],
    ids=["cut", "not utf-8", "deep", "too large"],
)
def test_what_is_no_message_at_all_is_an_invalid_payload(body: bytes, page: slack.Page) -> None:
    assert _post(_address(page), body) == (400, "invalid_payload")
    assert not page.messages


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/", (404, "no_service")),
        ("/services/T0000/B0000", (404, "no_service")),
        ("/services/T0000/B0000/demo/x", (404, "no_service")),
        ("/hooks/T0000/B0000/demo", (404, "no_service")),
        ("/services/T0001/B0000/demo", (404, "no_team")),
        ("/services/T0000/B0001/demo", (404, "no_service")),
        ("/services/T0000/B0000/guess", (403, "invalid_token")),
    ],
)
def test_an_address_that_is_no_webhook_is_told_by_the_part_that_is_wrong(
    path: str, answer: tuple[int, str], page: slack.Page
) -> None:
    assert _post(_address(page, path), b'{"text": "x"}') == answer
    assert not page.messages


def test_an_answer_it_was_told_to_give_comes_first(page: slack.Page) -> None:
    page.answers += [slack.TOO_MANY, slack.Answer(410, "channel_is_archived")]
    busy = requests.post(_address(page), b'{"text": "x"}', proxies={"no_proxy": "*"}, timeout=10)
    assert (busy.status_code, busy.text, busy.headers["Retry-After"]) == (429, "rate_limited", "30")
    assert _post(_address(page), b'{"text": "x"}') == (410, "channel_is_archived")
    assert _post(_address(page), b'{"text": "x"}') == (200, "ok")


BLOCKS = (
    {"type": "header", "text": said("디스크 <sda>", "plain_text")},
    {"type": "divider"},
    SECTION
    | {"fields": [said("*Host*\nweb-1"), said("*plain*", "plain_text")]}
    | {"accessory": button(text=said("Runbook", "plain_text"))},
    {"type": "context", "elements": [said("_since_ 19:04")]},
    {"type": "image", "image_url": "https://x.y/z.png", "alt_text": "a <graph>"},
    {"type": "actions", "elements": [button(text=said("런북", "plain_text"), style="danger")]},
)


def test_blocks_are_taken_and_shown_in_a_message_and_in_an_attachment(page: slack.Page) -> None:
    for payload in (blocks(*BLOCKS), attachment(blocks=list(BLOCKS))):
        assert _post(_address(page), json.dumps(payload).encode()) == (200, "ok")
        shown = slack_page.render([page.messages[-1]])
        for html in (
            "디스크 &lt;sda&gt;",
            "<hr>",
            "<b>Host</b><br>web-1",
            "*plain*",
            ">Runbook</a>",
            "<i>since</i> 19:04",
            "a &lt;graph&gt;</a>",
            ">런북</a>",
        ):
            assert html in shown


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
    text = {"type": "mrkdwn", "text": hostile}
    press = {"type": "button", "text": text, "url": hostile, "style": hostile}
    image = {"type": "image", "image_url": hostile, "alt_text": hostile}
    hostile_blocks = [
        {"type": "header", "text": text},
        {"type": "section", "text": text, "fields": [text], "accessory": press},
        {"type": "context", "elements": [text, image]},
        {"type": "actions", "elements": [press]},
        image,
    ]
    everywhere = {
        "text": hostile,
        "blocks": hostile_blocks,
        "username": hostile,
        "icon_emoji": hostile,
        "attachments": [
            {
                **dict.fromkeys(("title", "title_link", "text", "pretext", "color", "footer"), hostile),
                "fields": [{"title": hostile, "value": hostile}],
                "actions": [{"text": hostile, "url": hostile, "style": hostile}],
                "blocks": hostile_blocks,
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
    korean = slack_page.mrkdwn("<!date^1392734382^{date_short_pretty} {time}|2월 18일>")
    assert re.sub("[0-9]+:[0-9]+", "TIME", korean) == '<span title="2월 18일">2014년 2월 18일 TIME</span>'
    assert ">오늘<" in slack_page.mrkdwn(f"<!date^{time.time():.0f}^{{date_pretty}}|지금>")


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
