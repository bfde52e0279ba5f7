"""Slack messages as HTML, looking as they would in Slack.

Follows https://docs.slack.dev/messaging/formatting-message-text (mrkdwn),
https://docs.slack.dev/legacy/legacy-messaging/legacy-secondary-message-attachments and
https://docs.slack.dev/reference/block-kit; of blocks those that slack_rules.py takes.
The texts come from alerts, that is from anywhere: nothing of them reaches the page unescaped.
"""

from __future__ import annotations

import datetime as dt
import html
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deploy.demo.slack import Message

_COLORS = {"good": "#2eb886", "warning": "#daa038", "danger": "#a30200"}
_FOLD_CHARACTERS, _FOLD_LINES = 700, 5  # Slack folds an attachment's text that is longer

# Slack's tokens for dates as strftime's.
_DATES = {
    "date_num": "%Y-%m-%d",
    "date_short": "%b %-d, %Y",
    "date_long": "%A %B %-d, %Y",
    "date": "%B %-d, %Y",
    "time_secs": "%H:%M:%S",
    "time": "%H:%M",
}
_NEAR = {-1: "yesterday", 0: "today", 1: "tomorrow"}
# Slack writes dates in the reader's language: who is sent Korean words is taken to read it.
_DATES_KO = _DATES | dict.fromkeys(("date_short", "date_long", "date"), "%Y년 %-m월 %-d일")
_NEAR_KO = {-1: "어제", 0: "오늘", 1: "내일"}

# floodmark's own sign, where the sender has none.
_WAVE = (
    '<svg viewBox="0 0 36 36" fill="none" stroke="#1264a3" stroke-width="3" stroke-linecap="round">'
    '<path d="M6 15q4-5 8 0t8 0 8 0"/><path d="M6 24q4-5 8 0t8 0 8 0" opacity=".45"/></svg>'
)

# A few of Slack's short names: those alerts use. One that isn't here stays as it is, as in Slack.
_EMOJI = {
    "bangbang": "‼️",
    "bar_chart": "📊",
    "bell": "🔔",
    "boom": "💥",
    "book": "📖",
    "bulb": "💡",
    "chart_with_upwards_trend": "📈",
    "clock1": "🕐",
    "droplet": "💧",
    "exclamation": "❗",
    "eyes": "👀",
    "fire": "🔥",
    "floppy_disk": "💾",
    "green_heart": "💚",
    "heavy_check_mark": "✔️",
    "hourglass": "⌛",
    "hourglass_flowing_sand": "⏳",
    "information_source": "ℹ️",  # noqa: RUF001  # it is the emoji
    "large_blue_circle": "🔵",
    "large_green_circle": "🟢",
    "large_orange_circle": "🟠",
    "large_yellow_circle": "🟡",
    "link": "🔗",
    "mag": "🔍",
    "no_bell": "🔕",
    "ocean": "🌊",
    "red_circle": "🔴",
    "rotating_light": "🚨",
    "skull": "💀",
    "skull_and_crossbones": "☠️",
    "snail": "🐌",
    "stopwatch": "⏱️",
    "timer_clock": "⏲️",
    "warning": "⚠️",
    "water_wave": "🌊",
    "white_check_mark": "✅",
    "wrench": "🔧",
    "x": "❌",
    "zap": "⚡",
}


def mrkdwn(text: str, *, formatted: bool = True) -> str:
    """Slack's markup as HTML. Links and emoji always work; *bold* and its like only where `formatted`."""
    kept: list[str] = []  # pieces that are done: code and links, whose inside isn't looked at again

    def keep(done: str) -> str:
        kept.append(done)
        return f"\0{len(kept) - 1}\0"

    text = text.replace("\0", "").strip("\n")
    if formatted:
        text = re.sub(
            r"```\n?(.+?)```\n?", lambda m: keep(f"<pre>{_escape(m[1])}</pre>"), text, flags=re.DOTALL
        )
        text = re.sub(r"`([^`\n]+)`", lambda m: keep(f"<code>{_escape(m[1])}</code>"), text)
    text = re.sub(r"<([^<>|\n\0]+)(?:\|([^<>\n]*))?>", lambda m: keep(_link(m[1], m[2] or m[1])), text)
    text = emoji(_escape(text))
    if formatted:
        for mark, tag in (("*", "b"), ("_", "i"), ("~", "s")):
            m = re.escape(mark)
            text = re.sub(
                rf"(?<![\w{m}]){m}(?=\S)([^{m}\n]+?)(?<=\S){m}(?![\w{m}])", rf"<{tag}>\1</{tag}>", text
            )
        text = re.sub(r"(?:^|(?<=\0))&gt; ?(.*)\n?", r"<blockquote>\1</blockquote>", text, flags=re.MULTILINE)
    text = text.replace("\n", "<br>")
    while "\0" in text:  # a link's text may hold code that was kept before it
        text = re.sub(r"\0(\d+)\0", lambda m: kept[int(m[1])], text)
    return text


def _link(target: str, text: str) -> str:
    """A link if it leads to the web; anything else (javascript:, @channel) is shown as text."""
    if re.match(r"(https?://|mailto:)", target):
        return _anchor(target, _escape(text))
    if target.startswith("!date^"):
        return _date(target.removeprefix("!date^"), text)
    if target[0] in "!@#":
        return f'<span class="mention">@{_escape(text.lstrip("!@#"))}</span>'
    return _escape(text)


def _date(given: str, text: str) -> str:
    """A date as !date^1795164272^{date_short_pretty} {time}, in the time zone of this machine.

    Args:
        given: what stands after the first caret.
        text: what to show where `given` can't be read.
    """
    seconds, _, form = given.partition("^")
    try:
        when = dt.datetime.fromtimestamp(int(seconds), dt.UTC).astimezone()
    except (ValueError, OverflowError, OSError):
        return _escape(text)
    days = (when.date() - dt.datetime.now(dt.UTC).astimezone().date()).days
    dates, near = (_DATES_KO, _NEAR_KO) if re.search("[가-힣]", text) else (_DATES, _NEAR)
    shown = form.partition("^")[0]
    for token, value in dates.items():
        date = when.strftime(value)
        shown = shown.replace(f"{{{token}}}", date).replace(f"{{{token}_pretty}}", near.get(days, date))
    return f'<span title="{_escape(text)}">{_escape(shown)}</span>'


def _anchor(url: str, shown: str, style: str = "") -> str:
    """A link to `url` around HTML that is safe already."""
    return f'<a class="{style}" href="{_escape(url)}" target="_blank" rel="noopener noreferrer">{shown}</a>'


def _escape(text: str) -> str:
    """Escape for HTML. Slack has senders write & < > as entities already: those mean the one sign."""
    for entity, sign in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        text = text.replace(entity, sign)
    return html.escape(text)


def emoji(text: str) -> str:
    """Short names such as :fire: as the signs they stand for."""
    return re.sub(r":([a-z0-9_]+):", lambda m: _EMOJI.get(m[1], m[0]), text)


# --- HTML


def render(messages: Iterable[Message]) -> str:
    """The whole page, oldest message first, as Slack has it."""
    shown = "\n".join(map(_message, messages))
    return Path(__file__).with_suffix(".html").read_text(encoding="utf-8").replace("{{messages}}", shown)


def _message(message: Message) -> str:
    payload = message.payload
    when = time.localtime(message.time)
    name = str(payload.get("username") or "incoming-webhook")
    icon = html.escape(emoji(str(payload.get("icon_emoji") or ""))) or _WAVE
    blocks = _blocks(payload.get("blocks"))
    # Where there are blocks the text is for the notification alone.
    text = (
        f'<div class="text">{mrkdwn(str(payload["text"]))}</div>'
        if payload.get("text") and not blocks
        else ""
    )
    attachments = "".join(
        _attachment(one, f"{message.number}-{place}")
        for place, one in enumerate(_dicts(payload.get("attachments")))
    )
    return f"""<article id="m{message.number}">
  <div class="avatar" aria-hidden="true">{icon}</div>
  <div class="body">
    <div class="head"><b>{html.escape(name)}</b> <span class="app">APP</span>
      <time datetime="{time.strftime("%FT%T%z", when)}">{time.strftime("%H:%M:%S", when)}</time></div>
    {text}{blocks}{attachments}
  </div>
</article>"""


def _attachment(one: dict[str, Any], place: str) -> str:
    given = one.get("mrkdwn_in")
    formatted = {str(name) for name in given} if isinstance(given, list) else {"text", "pretext"}

    def part(key: str) -> str:
        return mrkdwn(str(one[key]), formatted=key in formatted) if one.get(key) else ""

    color = _COLORS.get(str(one.get("color")), str(one.get("color")))
    if not re.fullmatch(r"#?[0-9A-Fa-f]{3}([0-9A-Fa-f]{3})?", color):
        color = "#dddddd"
    title = emoji(_escape(str(one.get("title") or "")))
    if title and re.match(r"https?://", str(one.get("title_link"))):
        title = _anchor(str(one["title_link"]), title)
    fields = "".join(_field(field, formatted="fields" in formatted) for field in _dicts(one.get("fields")))
    buttons = "".join(_button(action) for action in _dicts(one.get("actions")))
    pieces = [
        f'<div class="title">{title}</div>' if title else "",
        _folded(part("text"), str(one.get("text") or ""), place),
        f'<dl class="fields">{fields}</dl>' if fields else "",
        _blocks(one.get("blocks")),
        f'<div class="actions">{buttons}</div>' if buttons else "",
        f'<div class="footer">{mrkdwn(str(one["footer"]), formatted=False)}</div>'
        if one.get("footer")
        else "",
    ]
    pretext = f'<div class="text">{part("pretext")}</div>' if one.get("pretext") else ""
    return f"""{pretext}
    <div class="attachment"><div class="bar" style="background:#{color.lstrip("#")}"></div>
      <div class="content">{"".join(pieces)}</div></div>"""


def _folded(shown: str, text: str, place: str) -> str:
    """An attachment's text, behind "Show more" where Slack would hide the rest."""
    if not shown:
        return ""
    if len(text) < _FOLD_CHARACTERS and text.strip().count("\n") < _FOLD_LINES:
        return f'<div class="text">{shown}</div>'
    return (
        f'<input type="checkbox" id="fold-{place}"><div class="text fold">{shown}</div>'
        f'<label for="fold-{place}"><span>Show more</span><span>Show less</span></label>'
    )


def _field(field: dict[str, Any], *, formatted: bool) -> str:
    size = "short" if field.get("short") else "long"
    value = mrkdwn(str(field.get("value") or ""), formatted=formatted)
    return f'<div class="{size}"><dt>{_escape(str(field.get("title") or ""))}</dt><dd>{value}</dd></div>'


def _button(action: dict[str, Any]) -> str:
    """A link button; Slack leaves out what leads nowhere."""
    if not re.match(r"https?://", str(action.get("url"))):
        return ""
    style = {"primary": "primary", "danger": "danger"}.get(str(action.get("style")), "plain")
    return _anchor(str(action["url"]), emoji(_escape(str(action.get("text") or ""))), f"button {style}")


def _blocks(given: object) -> str:
    return "".join(map(_block, _dicts(given)))


def _block(block: dict[str, Any]) -> str:
    kind = block.get("type")
    elements = _dicts(block.get("elements"))
    if kind == "divider":
        return "<hr>"
    if kind == "header":
        return f'<div class="header">{_text(block.get("text"))}</div>'
    if kind == "image":
        return f'<div class="text">{_image(block)}</div>'
    if kind == "actions":
        return f'<div class="actions">{"".join(map(_element, elements))}</div>'
    if kind == "context":
        return f'<div class="footer">{" ".join(map(_element, elements))}</div>'
    fields = "".join(f'<div class="short">{_text(field)}</div>' for field in _dicts(block.get("fields")))
    accessory = _element(block["accessory"]) if isinstance(block.get("accessory"), dict) else ""
    return f"""<div class="section"><div class="text">{_text(block.get("text"))}</div>{accessory}</div>
      {f'<dl class="fields">{fields}</dl>' if fields else ""}"""


def _element(one: dict[str, Any]) -> str:
    """What stands in a row or beside a section: a button, an image or a text."""
    if one.get("type") == "image":
        return _image(one)
    if one.get("type") == "button":
        return _button(one | {"text": _said(one.get("text"))})
    return _text(one)


def _text(given: object) -> str:
    """A text object as HTML; only one of type mrkdwn has markup."""
    if isinstance(given, dict) and given.get("type") == "mrkdwn":
        return mrkdwn(_said(given))
    return emoji(_escape(_said(given)))


def _said(given: object) -> str:
    return str(given.get("text") or "") if isinstance(given, dict) else ""


def _image(one: dict[str, Any]) -> str:
    """What an image shows, in words: the page fetches nothing from elsewhere."""
    said = _escape(str(one.get("alt_text") or ""))
    address = str(one.get("image_url"))
    return f"🖼 {_anchor(address, said) if re.match(r'https?://', address) else said}"


def _dicts(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
