"""What Slack takes as a message, and its word for what it refuses.

Follows https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks (the words),
https://docs.slack.dev/legacy/legacy-messaging/legacy-secondary-message-attachments and
https://docs.slack.dev/reference/block-kit (the lengths). Where Slack only advises, as with five buttons, or
cuts silently, this refuses: what passes here is shown as it was meant.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any, TypeGuard

_ATTACHMENTS = 100
_FIELDS = 10
_ACTIONS = 5  # of an attachment
_BLOCKS = 50
_TEXT = 40_000  # of the message, and of an attachment
_TITLE = 1024
_BUTTON, _URL, _VALUE = 75, 3000, 2000
_SECTION, _FIELD, _HEADER = 3000, 2000, 150
_ELEMENTS = {"actions": 25, "context": 10}
_ID = 255

_TEXTS = (
    "title",
    "title_link",
    "pretext",
    "text",
    "fallback",
    "footer",
    "color",
    "author_name",
    "callback_id",
)


class RefusedError(Exception):
    """The message can't be used.

    Attributes:
        word: Slack's own for why, the body of its answer.
        status: of its answer.
    """

    def __init__(self, word: str, status: int = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(word)
        self.word = word
        self.status = status


def check(payload: dict[str, Any]) -> None:
    """Refuse what Slack refuses.

    Raises:
        RefusedError: it does.
    """
    attachments, blocks = payload.get("attachments") or [], payload.get("blocks") or []
    _need(_are_dicts(attachments), "invalid_attachments")
    _need(len(attachments) <= _ATTACHMENTS, "too_many_attachments")
    _need(_are_dicts(blocks), "invalid_blocks_format")
    text = payload.get("text") or ""
    _need(isinstance(text, str), "invalid_payload")
    _need(len(text) <= _TEXT, "msg_too_long")
    _need(bool(text or attachments or blocks), "no_text")
    for attachment in attachments:
        _attachment(attachment)
    _blocks(blocks, "invalid_blocks")


def _need(holds: bool, word: str) -> None:  # noqa: FBT001  # what holds is the point
    if not holds:
        raise RefusedError(word)


def _are_dicts(value: object) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _attachment(one: dict[str, Any]) -> None:
    word = "invalid_attachments"
    _need(all(isinstance(one.get(key, ""), str) for key in _TEXTS), word)
    said = [one.get(key) for key in ("title", "pretext", "text", "fallback", "fields", "blocks", "image_url")]
    _need(any(said), "no_text")
    _need(len(one.get("text", "")) <= _TEXT, "msg_too_long")
    _need(len(one.get("title", "")) <= _TITLE, word)
    fields, actions, blocks = (one.get(key) or [] for key in ("fields", "actions", "blocks"))
    _need(_are_dicts(fields) and _are_dicts(actions) and _are_dicts(blocks), word)
    _need(len(fields) <= _FIELDS and len(actions) <= _ACTIONS, word)
    for field in fields:
        _need(isinstance(field.get("title", ""), str), word)
        _need(isinstance(field.get("value", ""), str) and len(field.get("value", "")) <= _FIELD, word)
    for action in actions:
        _need(action.get("type") == "button" and _within(action.get("text"), _BUTTON), word)
        _need("url" not in action or _is_link(action["url"]), word)
    _blocks(blocks, word)


def _blocks(blocks: list[dict[str, Any]], word: str) -> None:
    _need(len(blocks) <= _BLOCKS, word)
    ids = [block["block_id"] for block in blocks if "block_id" in block]
    _need(all(_within(one, _ID) for one in ids) and len(set(map(str, ids))) == len(ids), word)
    for block in blocks:
        _need(_block(block), word)


def _block(block: dict[str, Any]) -> bool:
    match block.get("type"):
        case "divider":
            right = True
        case "header":
            right = _is_text(block.get("text"), _HEADER, kinds=("plain_text",))
        case "image":
            right = _is_image(block)
        case "section":
            right = _is_section(block)
        case "actions" | "context" as kind:
            elements = block.get("elements")
            check = _is_button if kind == "actions" else _is_context
            right = (
                _are_dicts(elements) and 1 <= len(elements) <= _ELEMENTS[kind] and all(map(check, elements))
            )
        case _:
            right = False
    return right


def _is_context(one: dict[str, Any]) -> bool:
    return _is_image(one) or _is_text(one, _SECTION)


def _is_section(block: dict[str, Any]) -> bool:
    fields = block.get("fields", [])
    if not _are_dicts(fields) or len(fields) > _FIELDS:
        return False
    if not all(_is_text(one, _FIELD) for one in fields):
        return False
    accessory = block.get("accessory")
    if accessory is not None and not (
        isinstance(accessory, dict) and (_is_button(accessory) or _is_image(accessory))
    ):
        return False
    return _is_text(block["text"], _SECTION) if "text" in block else bool(fields)


def _is_text(value: object, most: int, kinds: tuple[str, ...] = ("mrkdwn", "plain_text")) -> bool:
    return isinstance(value, dict) and value.get("type") in kinds and _within(value.get("text"), most)


def _is_button(one: dict[str, Any]) -> bool:
    return (
        one.get("type") == "button"
        and _is_text(one.get("text"), _BUTTON, kinds=("plain_text",))
        and ("url" not in one or _is_link(one["url"]))
        and len(str(one.get("value", ""))) <= _VALUE
        and one.get("style", "primary") in {"primary", "danger"}
        and ("action_id" not in one or _within(one["action_id"], _ID))
    )


def _is_image(one: dict[str, Any]) -> bool:
    return (
        one.get("type") == "image" and _is_link(one.get("image_url")) and _within(one.get("alt_text"), _VALUE)
    )


def _is_link(value: object) -> bool:
    return (
        isinstance(value, str)
        and len(value) <= _URL
        and bool(re.match(r"(https?://|mailto:)[^\s<>]+$", value))
    )


def _within(value: object, most: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= most
