"""The command that shows what the next request would hold."""

from __future__ import annotations

from rich.text import Text

from holdfast.cli.chat.talk import Talk
from holdfast.cli.rendering.figures import percent
from holdfast.cli.words import count, model_name
from holdfast.errors import UsageError
from holdfast.models.counting import TokenCount

__all__ = ("ASK", "context")

ASK = "--ask"
"""Lets the provider count."""


async def context(talk: Talk, argument: str) -> None:
    """Shows how many tokens the next request has, of what they are, and how full the model's window is with them."""
    if argument not in ("", ASK):
        raise UsageError(f"/context takes {ASK}, which lets the provider count, or nothing")
    conversation, terms = talk.conversation, talk.conversation.terms
    run = conversation.figures.run
    model = terms.model if run is None else run.setup.setup.model
    found = await conversation.sessions.count_tokens(
        terms, model, [*talk.attached], session=conversation.session, ask=argument == ASK
    )
    rows = _rows(found, asked=bool(argument))
    talk.view.lines([Text.assemble((f"  {name:<14}", "dim"), what) for name, what in rows])


def _rows(found: TokenCount, *, asked: bool) -> list[tuple[str, str]]:
    about = "" if asked else f"; /context {ASK} has the provider count"
    how = "as the provider counts them" if found.exact else f"estimated{about}"
    if asked and not found.exact:
        how = "estimated: the provider gives no count"
    rows = [("next request", f"{count(found.tokens, 'token')}, {how}")]
    of = f"{found.window:,} tokens, {percent(found.tokens / found.window)} full" if found.window else "not known"
    rows.append(("window", f"{of}, {model_name(found.model)}"))
    shares = found.shares
    parts = (
        ("instructions", shares.instructions),
        ("tools", shares.tools),
        ("history", shares.messages),
        ("attached", shares.attachments),
    )
    whole = max(1, found.tokens)
    return rows + [(name, f"{tokens:,}, {percent(tokens / whole)}") for name, tokens in parts if tokens]
