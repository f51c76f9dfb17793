"""How many tokens a request has: as its provider counts them, or as what was learned of the model makes likely.

An estimate is of the bytes of the text (`estimating.py`), and of what pictures and pages usually count. It is for
gauges and for what is decided ahead; what a call may cost is bounded by `Model.size`.

Not here: how a provider is asked (`providers/talking.py`, `wire/counting.py`), and who feeds the estimator, which is
every call of text whose server said what it used.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from holdfast.errors import AuthFailed, ModelError
from holdfast.models.estimating import TokenEstimator
from holdfast.models.media.sniffing import sniff
from holdfast.models.port import Model, ModelRequest
from holdfast.types import AssistantMessage, Document, Image, Message, Text, ToolMessage, UserMessage

__all__ = ("TokenCount", "TokenShares", "attachment_tokens", "count_tokens")

_PIXELS = 750
"""Of one token of a picture (source: Anthropic's guide to vision; others count fewer for small ones, more for none)."""
_PICTURE, _LEAST_PICTURE = 1600, 85
"""Tokens of a picture whose size nobody knows, or that is made smaller before it is looked at; and of the smallest."""
_PAGE = 3000
"""Tokens of a page, its text and its picture (source: Anthropic's guide to PDF support)."""
_PAGE_BYTES = 64 * 1024
"""What a page has at least where the document does not say how many there are."""
_PAGES = re.compile(rb"/Type\s*/Page(?![a-zA-Z])")


class TokenShares(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the tokens of a request are of, by their bytes; together they are all of them."""

    instructions: int = 0
    tools: int = 0
    messages: int = 0
    """The conversation, and the frame around everything."""
    attachments: int = 0
    """Images and documents."""


class TokenCount(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How many input tokens a request has."""

    tokens: int
    exact: bool
    """Whether the provider counted them; otherwise they are estimated, rather too many."""
    model: str = ""
    """Of which model, as `provider/name`."""
    window: int | None = None
    """Tokens that the model takes; None when nobody knows."""
    shares: TokenShares = TokenShares()


async def count_tokens(
    model: Model, request: ModelRequest, estimator: TokenEstimator, *, ask: bool, window: int | None = None
) -> TokenCount:
    """Returns the input tokens of a request: the provider's count when it is to be asked and has one, else an estimate.

    A provider that fails is one that has none. The model must be one that is in no run: it forgets what it encoded.

    Raises:
        AuthFailed: the provider was to be asked and does not take the key.
        InvalidRequest: an option is written by Holdfast itself.
    """
    bare, attached = _without_attachments(request)
    parts = _sizes(model, bare)
    size, pictures = sum(parts), sum(attachment_tokens(each) for each in attached)
    tokens, exact = estimator.estimate(model.name, size) + pictures, False
    if ask and (counted := await _asked(model, request)) is not None:
        tokens, exact = counted, True
        if not attached and not request.provider_tools:
            estimator.learn(model.name, size, counted)
    weights = [*(each * estimator.rate(model.name) for each in parts), pictures]
    return TokenCount(tokens=tokens, exact=exact, model=model.name, window=window, shares=_shares(tokens, weights))


def attachment_tokens(part: Image | Document) -> int:
    """Returns what a picture, or a document that is no plain text, usually counts."""
    if isinstance(part, Document):
        return _PAGE * (len(_PAGES.findall(part.data)) or 1 + len(part.data) // _PAGE_BYTES)
    found = sniff(part.data)
    if found is None or not found.pixels:
        return _PICTURE
    return max(_LEAST_PICTURE, min(_PICTURE, -(-found.pixels // _PIXELS)))


async def _asked(model: Model, request: ModelRequest) -> int | None:
    try:
        return await model.count(request)
    except AuthFailed:
        raise
    except ModelError:
        return None  # one that is busy, or has no such place, is no reason to know nothing


def _sizes(model: Model, request: ModelRequest) -> tuple[int, int, int]:
    """Returns the bytes of the instructions, of the tools, and of the rest."""
    all = model.size(request)
    spoken = model.size(msgspec.structs.replace(request, instructions=""))
    bare = model.size(msgspec.structs.replace(request, instructions="", tools=(), provider_tools=(), must_call=None))
    return all - spoken, spoken - bare, bare


def _shares(tokens: int, weights: Sequence[float]) -> TokenShares:
    """Returns how so many tokens are shared out; what rounding leaves is the conversation's."""
    whole = sum(weights) or 1.0
    instructions, tools, _, attachments = (int(tokens * each / whole) for each in weights)
    rest = tokens - instructions - tools - attachments
    return TokenShares(instructions=instructions, tools=tools, messages=rest, attachments=attachments)


def _without_attachments(request: ModelRequest) -> tuple[ModelRequest, list[Image | Document]]:
    """Returns a request without what is no text, and that; the very same one where there is nothing."""
    found: list[Image | Document] = []
    messages = [_text_of(each, found) for each in request.messages]
    return (msgspec.structs.replace(request, messages=messages) if found else request), found


def _text_of(message: Message, found: list[Image | Document]) -> Message:
    if isinstance(message, AssistantMessage | ToolMessage):
        return message
    kept = tuple([part for part in message.parts if isinstance(part, Text) or part.media_type == "text/plain"])
    if len(kept) == len(message.parts):
        return message
    found += [part for part in message.parts if not isinstance(part, Text) and part.media_type != "text/plain"]
    return UserMessage(kept)
