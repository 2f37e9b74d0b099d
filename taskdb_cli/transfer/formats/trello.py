"""Cards of a Trello board, as "Export as JSON" in the menu of a board writes them."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO

from taskdb_cli.models.vocabulary import TaskStatus
from taskdb_cli.text.escaping import brief
from taskdb_cli.transfer.foreign import ForeignFormat, Note, Sample, in_utc, words
from taskdb_cli.transfer.json_records import read_members
from taskdb_cli.transfer.lines import Found

_FIELDS = {
    "id": "external_id",
    "name": "title",
    "desc": "description",
    "due": "due_at",
    "dateCompleted": "completed_at",
    "dateLastActivity": "updated_at",
}
_TEXTS = (
    "list",
    "labels",
    "members",
    "start",
    "locationName",
    "address",
    "custom fields",
    "attachments",
    "shortUrl",
)
"""The fields that become lines of the description, in this order."""

_LOSSES = {
    "idMembersVoted": "votes were not kept",
    "dueReminder": "the reminder was not kept",
    "coordinates": "the coordinates were not kept",
    "pluginData": "data of power-ups was not kept",
}
_INTERNAL = (
    *("badges", "cardRole", "checkItemStates", "cover", "creationMethod", "creationMethodError"),
    *("creationMethodLoadingStartedAt", "customFieldItems", "dateClosed", "descData", "email", "faviconUrl"),
    *("idAttachmentCover", "idBoard", "idChecklists", "idLabels", "idList", "idMemberCreator", "idMembers"),
    *("idOrganization", "idShort", "isTemplate", "labelNames", "limits", "manualCoverAttachment"),
    *("mirrorSourceId", "nodeId", "originalDesc", "originalName", "pinned", "pos", "shortLink"),
    *("staticMapUrl", "subscribed", "url", "urlSource"),
)
"""Fields that say nothing of the work, or repeat another field."""

_BOARD = re.compile(r'"(?:(?:url|shortUrl)"\s*:\s*"https://trello\.com/b/|idBoard"\s*:\s*"[0-9a-f]{24}")')
"""What only an export of a board contains, or of one card, which is refused."""

_ID = re.compile("[0-9a-f]{24}")


class _Board:
    """The objects to which cards refer by id. They follow the cards in the file, so they are read first."""

    def __init__(self) -> None:
        self._lists: dict[object, Mapping[str, Any]] = {}
        self._names: dict[object, str] = {}
        self._custom_fields: dict[object, Mapping[str, Any]] = {}
        self._checklists: dict[object, list[str]] = {}
        self._comments: dict[object, list[str]] = {}
        self._completed: dict[object, str] = {}

    def add(self, kind: str, item: Mapping[str, Any]) -> None:
        """Keep an item of one of the board's arrays, if cards refer to it."""
        id = _id(item.get("id"))
        if kind == "lists":
            self._lists[id] = {"name": item.get("name"), "closed": item.get("closed")}
        elif kind == "members":
            self._names[id] = words(item.get("fullName") or item.get("username") or item.get("id") or "")
        elif kind == "customFields":
            options = {_id(each.get("id")): each.get("value") for each in _mappings(item.get("options"))}
            self._custom_fields[id] = {"name": item.get("name"), "options": options}
        elif kind == "checklists":
            self._checklists.setdefault(_id(item.get("idCard")), []).append(_checklist(item))
        elif kind == "actions":
            self._add_action(item)

    def _add_action(self, action: Mapping[str, Any]) -> None:
        data, date = _mapping(action.get("data")), words(action.get("date") or "")
        card = _mapping(data.get("card"))
        id = _id(card.get("id"))
        if action.get("type") in ("commentCard", "copyCommentCard"):
            author = _mapping(action.get("memberCreator"))
            name = words(author.get("fullName") or author.get("username") or "")
            said = f"{in_utc(date)} {name}".strip()
            self._comments.setdefault(id, []).append(f"{said}: {words(data.get('text') or '')}")
        elif "dueComplete" in _mapping(data.get("old")) and card.get("dueComplete"):
            self._completed.setdefault(id, date)

    def resolve(self, card: Mapping[str, Any]) -> dict[str, Any]:
        """Return a card with names and texts for the ids that it refers to."""
        id, in_list = _id(card.get("id")), self._lists.get(_id(card.get("idList")), {})
        resolved = {
            **card,
            "list": in_list.get("name"),
            "closed": card.get("closed") or in_list.get("closed"),
            "members": [self._names.get(_id(each), each) for each in _items(card.get("idMembers"))],
            "labels": [
                name
                for label in _mappings(card.get("labels"))
                if (name := label.get("name") or label.get("color"))
            ],
            "checklists": self._checklists.get(id, [])
            or [*map(_checklist, _mappings(card.get("checklists")))],
            # The newest action comes first.
            "comments": self._comments.get(id, [])[::-1],
            "start": in_utc(words(card.get("start") or "")),
            # Trello writes -1 for none.
            "dueReminder": _number(card.get("dueReminder")) >= 0 and card.get("dueReminder"),
            "commented": _number(_mapping(card.get("badges")).get("comments")),
            "custom fields": [*map(self._custom_field, _mappings(card.get("customFieldItems")))],
        }
        if card.get("dueComplete") and not card.get("dateCompleted"):
            resolved["dateCompleted"] = self._completed.get(id) or card.get("dateLastActivity")
        return resolved

    def _custom_field(self, item: Mapping[str, Any]) -> str:
        field = self._custom_fields.get(_id(item.get("idCustomField")), {})
        options = field.get("options", {})
        value = item.get("value") or options.get(_id(item.get("idValue"))) or ""
        said = ", ".join(map(words, value.values())) if isinstance(value, dict) else words(value)
        return f"{words(field.get('name') or item.get('idCustomField') or '')}: {said}"


def _id(value: object) -> object:
    """Return a key for an id. One that is absent is the key of nothing else."""
    return value if isinstance(value, str | int) and value else object()


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [each for each in _items(value) if isinstance(each, dict)]


def _checklist(checklist: Mapping[str, Any]) -> str:
    lines = [f"{words(checklist.get('name') or 'checklist')}:"]
    for item in sorted(_mappings(checklist.get("checkItems")), key=lambda item: _number(item.get("pos"))):
        due = f" (due {in_utc(words(item['due']))})" if item.get("due") else ""
        mark = "x" if item.get("state") == "complete" else " "
        lines.append(f"[{mark}] {words(item.get('name') or '')}{due}")
    return "\n".join(lines)


def _number(value: object) -> float:
    return value if isinstance(value, int | float) else 0


def _read(text: TextIO) -> Iterator[Found]:
    board, cards, one_card = _Board(), 0, False
    # A fault in the form is reported when the file is read again, after the cards before the fault.
    with suppress(ValueError):
        for kind, item in read_members(text):
            if isinstance(item, dict):
                board.add(kind, item)
    text.seek(0)
    try:
        for kind, item in read_members(text):
            one_card = one_card or kind == "idBoard"
            if kind == "cards":
                cards += 1
                yield cards, board.resolve(item) if isinstance(item, dict) else "is not a JSON object"
        if not cards and one_card:
            yield 1, "is alone: the file is the JSON of one card (export the board)"
        elif not cards:
            yield 1, "is not there: the file is no export of a board, or the board is empty"
    except ValueError as exc:
        yield cards + 1, str(exc)


def _adapt(task: dict[str, Any], rest: dict[str, Any], note: Note) -> Mapping[str, Any]:
    done, archived = rest.pop("dueComplete", False), rest.pop("closed", False)
    task["status"] = TaskStatus.DONE if done else TaskStatus.CANCELLED if archived else TaskStatus.TODO
    if archived and not done:
        note("is archived, but not marked complete: it is cancelled here")
    if not done:
        task["completed_at"] = None
    if _ID.fullmatch(id := words(task["external_id"])):
        # The id of a card begins with the second in which the card was made.
        task["created_at"] = datetime.fromtimestamp(int(id[:8], 16), UTC).isoformat()
    comments, attachments = rest.pop("comments", []), _mappings(rest.pop("attachments", []))
    if rest.pop("commented", 0) > len(comments):
        note("has comments that the export leaves out (it holds the newest 1000 actions of a board)")
    if any(each.get("isUpload") for each in attachments):
        note("attached files were not kept, only their addresses")
    parts = [task["description"], *rest.pop("checklists", []), "\n".join(comments)]
    task["description"] = "\n\n".join(words(part) for part in parts if part)
    rest["attachments"] = [words(each.get("url") or each.get("name") or "") for each in attachments]
    others = {name: rest.pop(name) for name in _TEXTS if name in rest}
    for name, value in rest.items():
        if any(value.values()) if isinstance(value, dict) else value:
            note(_LOSSES.get(name, f"{brief(name)} was not kept"))
    return {name: value for name, value in others.items() if value}


def _recognises(sample: Sample) -> bool:
    return sample.head.startswith("{") and bool(_BOARD.search(sample.head))


FORMAT = ForeignFormat(
    fields=_FIELDS,
    read=_read,
    adapt=_adapt,
    recognises=_recognises,
    left_out=_INTERNAL,
    prefix="trello:",
    unit="card",
    remark="the history, the members and the settings of the board are not kept",
)
