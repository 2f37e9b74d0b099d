"""Issues and pull requests of GitHub, as `gh issue list --json …` prints them, or as the REST API does."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from taskdb_cli.models.vocabulary import TaskStatus
from taskdb_cli.text.escaping import brief
from taskdb_cli.transfer.foreign import ForeignFormat, Note, Sample, in_utc, words
from taskdb_cli.transfer.json_records import read_json
from taskdb_cli.transfer.lines import Found

_FIELDS = {
    "url": "external_id",
    "title": "title",
    "body": "description",
    "state": "status",
    "closedAt": "completed_at",
    "createdAt": "created_at",
    "updatedAt": "updated_at",
}
_STATUSES = {"open": TaskStatus.TODO, "closed": TaskStatus.DONE, "merged": TaskStatus.DONE}
_REASONS = {
    "completed": TaskStatus.DONE,
    "not_planned": TaskStatus.CANCELLED,
    "duplicate": TaskStatus.CANCELLED,
}
_TEXTS = {
    "labels": "name",
    "assignees": "login",
    "milestone": "title",
    "author": "login",
    "issueType": "name",
    "parent": "url",
    "closedByPullRequestsReferences": "url",
    "closingIssuesReferences": "url",
    "projectItems": "title",
    "repository": "nameWithOwner",
    "closedBy": "login",
    "mergedBy": "login",
}
"""The part of an object, or of each object in a list, that becomes text. The rest is not of interest."""

_INTERNAL = (
    *("activeLockReason", "assignee", "authorAssociation", "commentsUrl", "eventsUrl", "fullDatabaseId"),
    *("headRepository", "headRepositoryOwner", "id", "issueDependenciesSummary", "isCrossRepository"),
    *("isPullRequest", "labelsUrl", "locked", "nodeId", "performedViaGithubApp", "repositoryUrl", "score"),
    *("subIssuesSummary", "timelineUrl"),
)
"""Fields that say nothing of the work, or repeat another field."""

_NEVER = "0001-01-01T00:00:00Z"
"""The text that some versions of `gh` write for a missing time."""

_PAGE = re.compile(r"https?://[^/\s]+/[^/\s]+/[^/\s]+/(?:issues|pull)/\d+")


def _read(text: TextIO) -> Iterator[Found]:
    for number, values in read_json(text):
        yield number, _named_by_gh(values) if isinstance(values, dict) else values


def _named_by_gh(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with the names that `gh` uses. The REST API writes them in its own way."""
    known = {name: value for name, value in values.items() if value != _NEVER}
    if "html_url" not in known:
        return known
    renamed = {re.sub("_([a-z])", lambda found: found[1].upper(), name): known[name] for name in known}
    renamed |= {"url": renamed.pop("htmlUrl"), "author": renamed.pop("user", None)}
    renamed |= {"issueType": renamed.pop("type", None), "reactionGroups": renamed.pop("reactions", None)}
    return renamed


def _adapt(task: dict[str, Any], rest: dict[str, Any], note: Note) -> Mapping[str, Any]:
    number, pull = rest.pop("number", None), rest.pop("pullRequest", None)
    others = {name: _text(rest.pop(name), part) for name, part in _TEXTS.items() if name in rest}
    if task["external_id"] is None:
        if type(number) not in (int, str):
            raise ValueError("url is missing, and so is number (ask gh for --json url,title)")
        task["external_id"] = f"{others.get('repository', '')}#{words(number)}"
        if not others.get("repository"):
            note("has no url, so only its number identifies the issue (ask gh for --json url)")
    task["status"] = _status(task, rest, pull)
    if task["status"] is not TaskStatus.DONE and task["completed_at"]:
        others["closedAt"], task["completed_at"] = in_utc(words(task["completed_at"])), None
    comments = rest.pop("comments", [])
    if not isinstance(comments, list):
        if comments:
            note("comments were not kept: the file holds only their number")
        comments = []
    parts = [task["description"], "\n\n".join(map(_comment, comments))]
    task["description"] = "\n\n".join(words(part) for part in parts if part)
    reactions = rest.pop("reactionGroups", None)
    if reactions and not (isinstance(reactions, dict) and reactions.get("total_count") == 0):
        note("reactions were not kept")
    for name, value in rest.items():
        if isinstance(value, list | dict):
            note(f"{brief(name)} was not kept")
        elif value is not False:
            others[name] = words(value)
    return {name: value for name, value in others.items() if value}


def _status(task: Mapping[str, Any], rest: dict[str, Any], pull: object) -> TaskStatus:
    """Return the status by the fields that the export has: the state, whether it is closed, or since when."""
    reason, closed = words(rest.pop("stateReason", "")).lower(), rest.pop("closed", False)
    implied = "closed" if closed or reason in _REASONS or task["completed_at"] else "open"
    state = words(task["status"] or implied).strip().lower()
    if state not in _STATUSES:
        raise ValueError(f"state must be one of {', '.join(_STATUSES)}, not {brief(task['status'])!r}")
    merged = rest.get("mergedAt") or (isinstance(pull, dict) and pull.get("merged_at"))
    unmerged = (pull or "/pull/" in words(task["external_id"])) and not merged
    if state == "closed" and (_REASONS.get(reason) is TaskStatus.CANCELLED or unmerged):
        return TaskStatus.CANCELLED
    return _STATUSES[state]


def _text(value: object, part: str) -> str:
    """Return a part of an object, or of each object in a list, as text."""
    if isinstance(value, list):
        return ", ".join(text for each in value if (text := _text(each, part)))
    if not isinstance(value, dict):
        return words(value)
    text = words(value.get(part) or value.get("name") or "")
    state, due = value.get("status"), value.get("dueOn") or value.get("due_on")
    details = [
        words(state.get("name") or "") if isinstance(state, dict) else "",
        f"due {in_utc(words(due))}" if due else "",
    ]
    more = ", ".join(detail for detail in details if detail)
    return f"{text} ({more})" if more else text


def _comment(comment: object) -> str:
    if not isinstance(comment, dict):
        return words(comment)
    date, author = words(comment.get("createdAt") or ""), _text(comment.get("author") or "", "login")
    return f"{in_utc(date)} {author}: {words(comment.get('body') or '')}"


def _recognises(sample: Sample) -> bool:
    issue = sample.first
    page = issue.get("html_url") or issue.get("url")
    named = isinstance(page, str) and bool(_PAGE.fullmatch(page))
    return "title" in issue and (named or issue.keys() >= {"number", "state"})


FORMAT = ForeignFormat(fields=_FIELDS, read=_read, adapt=_adapt, recognises=_recognises, left_out=_INTERNAL)
