"""What a run came to, from its log (source: AgentOps 6.6). What the agent said itself goes before what is inferred.

a pull or merge request was made    change, with it, and with the commits where there are any
commits in a checkout               change, with how many
none in a checkout                  discovery
no checkout                         noop
the run did not complete            nothing
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, cast

import msgspec

from holdfast.engine.events import ModelFinished, ToolFinished
from holdfast.server.doors.agentops.outcomes.finishing import SUMMARY, Artifact, Outcome, provider_of
from holdfast.types import Event, ToolCall

__all__ = ("outcome_of",)

_MAKERS = ("gitlab_create_mr", "github_create_pr", "create_pull_request", "create_merge_request")
_FINISH = "run_finish"
_REQUEST = re.compile(r"https?://[^\s\"'<>\\)\]]+/(?:merge_requests|pulls?)/\d+")
_COMMITTED = re.compile(r"^(?:\[[^\]\n]+ [0-9a-f]{7,40}\] |committed [0-9a-f]{7,40}\b)", re.MULTILINE)
"""How git, and our tool for it, say that there is a commit."""


class _Seen(msgspec.Struct):
    """What calls that went well came to."""

    said: Outcome | None = None
    request: str = ""
    commits: int = 0

    def note(self, call: ToolCall, content: str) -> None:
        if call.name == _FINISH:
            self.said = _said(call.arguments) or self.said
        elif call.name.endswith(_MAKERS):
            self.request = _address(content) or self.request
        elif call.name in ("bash", "git"):
            self.commits += len(_COMMITTED.findall(content))


def outcome_of(events: Iterable[Event], output: str, *, git: bool) -> Outcome:
    """Returns what a run that completed came to; `git` says whether it worked in a checkout."""
    calls: dict[str, ToolCall] = {}
    seen = _Seen()
    for event in events:
        data = event.data
        if isinstance(data, ModelFinished):
            calls |= {call.id: call for call in data.message.calls}
        elif isinstance(data, ToolFinished) and data.result.error is None and data.call_id in calls:
            seen.note(calls[data.call_id], data.result.content)
    if seen.said is not None:
        return seen.said.bounded()
    summary = next((line.strip() for line in output.splitlines() if line.strip()), "")[:SUMMARY]
    made = Artifact(kind="commit", title=f"{seen.commits} commit(s)")
    if seen.request:
        kind = "mr" if "/merge_requests/" in seen.request else "pr"
        found = Artifact(kind=kind, provider=provider_of(seen.request), url=seen.request)
        return Outcome(intent="change", summary=summary, artifacts=(found, made) if seen.commits else (found,))
    if git and seen.commits:
        return Outcome(intent="change", summary=summary, artifacts=(made,))
    return Outcome(intent="discovery" if git else "noop", summary=summary)


def _said(arguments: str) -> Outcome | None:
    try:
        return msgspec.json.decode(arguments or "{}", type=Outcome)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _address(content: str) -> str:
    """Returns where a request is that a tool made; empty where it does not say."""
    try:
        told: Any = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        told = None
    if isinstance(told, dict):
        named = cast("dict[str, Any]", told)
        for field in ("web_url", "html_url"):
            if isinstance(address := named.get(field), str) and address:
                return address
    found = _REQUEST.search(content)
    return found.group() if found else ""
