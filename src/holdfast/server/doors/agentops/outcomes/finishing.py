"""The tool with which an agent says what its task came to."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from holdfast.tools.declaring import tool

__all__ = ("SUMMARY", "Artifact", "Intent", "Outcome", "provider_of", "run_finish")

Intent = Literal["change", "plan", "incident", "discovery", "noop"]
SUMMARY, _TITLE = 240, 120
_HOSTS = ("github.com", "gitlab", "gitea", "codeberg", "bitbucket")


class Artifact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that was made."""

    kind: Literal["pr", "mr", "issue", "memory", "commit"]
    provider: str = ""
    url: str = ""
    ref: str = ""
    title: str = ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a task came to."""

    intent: Intent
    summary: str = ""
    artifacts: tuple[Artifact, ...] = ()

    def bounded(self) -> Outcome:
        """Returns the same, with texts cut as boards expect them, and providers guessed where none is named."""
        return Outcome(
            intent=self.intent,
            summary=self.summary[:SUMMARY],
            artifacts=tuple(
                msgspec.structs.replace(
                    each, title=each.title[:_TITLE], provider=each.provider or provider_of(each.url)
                )
                for each in self.artifacts
            ),
        )


def provider_of(url: str) -> str:
    """Returns whose an address is, by its host; empty for nobody known."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return ""
    return next((each.removesuffix(".com") for each in _HOSTS if each in host), "")


@tool(effect="none")
async def run_finish(
    intent: Intent,
    summary: str = "",
    artifacts: Annotated[tuple[Artifact, ...], Meta(max_length=50)] = (),
) -> str:
    """Says what this task came to. Call it once, when you are done; then give your answer.

    Args:
        intent: change: something was changed. plan: something was planned. incident: something was found broken.
            discovery: something was found out. noop: there was nothing to do.
        summary: One line of at most 240 characters.
        artifacts: What was made: merge requests, issues, commits, with their addresses.
    """
    return f"Noted: {Outcome(intent=intent, summary=summary, artifacts=artifacts).bounded().intent}."
